"""What somebody writes who has a client by openapi-python-client and its description alone."""

import hashlib
import sys
import time
from io import BytesIO
from pathlib import Path

from described import Client
from described.api.datasets import datasets_upload
from described.api.jobs import jobs_get
from described.api.models import models_get
from described.api.searches import searches_create, searches_get
from described.models import SearchBody, SpaceBody, StartPolicy, TrainingBody
from described.types import File

url, archive, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
client = Client(base_url=url, timeout=60, raise_on_unexpected_status=True)

images = File(BytesIO(archive.read_bytes()), archive.name, "application/zip")
dataset = datasets_upload.sync(client=client, body=images, name="by a generated client")
body = SearchBody(
    dataset_id=dataset.id,
    policy=StartPolicy.COLD,
    training=TrainingBody(epochs=1, batch_size=16, seed=3),
    space=SpaceBody(channels=4, layers=3, nodes=2, resolution=16),
    retrain_epochs=1,
)
search = searches_create.sync(client=client, body=body)
job = search.job
while job.poll_after_ms is not None:
    time.sleep(job.poll_after_ms / 1000)
    job = jobs_get.sync(job.id, client=client)
assert job.state == "succeeded", job.error_message
found = searches_get.sync(search.id, client=client)
model = models_get.sync(found.model_id, client=client)
for artifact in model.artifacts:
    # Its operation has several media types, of which this generator reads the first alone.
    data = client.get_httpx_client().get(artifact.href).raise_for_status().content
    assert hashlib.sha256(data).hexdigest() == artifact.sha256
    (folder / artifact.name).write_bytes(data)
