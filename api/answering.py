"""What the process that computes models is asked, and the files of theirs that it is asked of."""

import asyncio
import json
from functools import partial
from typing import Final
from uuid import UUID

from anyio import CapacityLimiter, to_thread

from api import downloads
from api.views.inference import AlikeImageView
from api.views.shapes import finite
from core.bootstrap import Container
from core.domain.datasets import DatasetId
from core.domain.inference import Signature
from core.domain.searches import Artifact
from core.inference.batching import Answer, Inference
from core.inference.process import Floats
from core.services import datasets, models

READING: Final = CapacityLimiter(4)  # tensors and rows, for a few at once


async def network(container: Container, model_id: UUID) -> Artifact:
    """The file of a model's network. Raises NotFound."""
    return await to_thread.run_sync(_artifact, container, model_id, "model.onnx", limiter=READING)


async def signature_of(inference: Inference, container: Container, file: Artifact) -> Signature:
    """What a network takes and answers."""
    if (known := inference.known(file)) is not None:
        return known
    return (await asked(inference, container, file))[0]


async def asked(
    inference: Inference, container: Container, file: Artifact, batch: Floats | None = None
) -> Answer:
    """What it makes of a batch, if there is one; it is loaded in any case."""
    return await asyncio.wrap_future(
        inference.submit(file, partial(_bytes, container, file), batch)
    )


async def classes(container: Container, model_id: UUID) -> list[str]:
    """What a model tells apart, in its order."""
    return await to_thread.run_sync(_classes, container, model_id, limiter=READING)


async def alike(
    container: Container, inference: Inference, model_id: UUID, batch: Floats, names: list[str]
) -> list[AlikeImageView]:
    """The training images most like the one in the batch, by the model; none of a model without an
    index, or of a dataset whose images were deleted."""
    found = await to_thread.run_sync(_index, container, model_id, limiter=READING)
    if found is None:
        return []
    file, dataset_id = found
    signature, outputs = await asked(inference, container, file, batch)
    told = {each.name: row[0] for each, row in zip(signature.outputs, outputs, strict=True)}
    similarities: list[float | None] = finite(told["similarities"].tolist())
    rows = zip(similarities, told["places"].tolist(), told["labels"].tolist(), strict=True)
    return [
        AlikeImageView(
            name=names[int(label)],
            similarity=similarity,
            href=f"/v1/datasets/{dataset_id}/images/{int(place)}.png",
        )
        for similarity, place, label in rows
    ]


def _artifact(container: Container, model_id: UUID, name: str) -> Artifact:
    with container.sessions.read() as session:
        return models.artifact(session, model_id, name)


def _index(container: Container, model_id: UUID) -> tuple[Artifact, DatasetId] | None:
    with container.sessions.read() as session:
        model = models.get(session, model_id)
        file = model.artifact("alike.onnx")
        if file is None or datasets.remembered(session, model.dataset_id).deleted_at is not None:
            return None
        return file, model.dataset_id


def _bytes(container: Container, file: Artifact) -> bytes:
    return b"".join(downloads.verified(container.store, file))


def _classes(container: Container, model_id: UUID) -> list[str]:
    config = _bytes(container, _artifact(container, model_id, "config.json"))
    classes: list[str] = json.loads(config)["classes"]
    return classes
