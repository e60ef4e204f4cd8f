"""A service with something of every kind in it, on SQLite and local files; nobody works on its
jobs, so that requests are all that happens."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock
from uuid import UUID

from fastapi import FastAPI
from pydantic import SecretStr

from api import pieces, registration
from api.app import create_app
from api.uploads import Received
from core import bootstrap
from core.bootstrap import Container
from core.config import RateLimits, Settings, UploadLimits, WebhookSettings
from core.data import child, sandbox
from core.db import schema
from core.domain.identity import DEFAULT, Scope
from core.domain.jobs import JobId, QueueName
from core.domain.webhooks import EventType
from core.services import api_keys, uploads, webhooks
from core.services.sealing import Seal
from tests.fixtures import onnx_models
from tests.unit.api import archives, scenes


class Nobody:
    """A queue whose workers are away."""

    def announce(self, _job_id: JobId, _queue: QueueName) -> None:
        """Nobody hears it."""

    def check(self) -> None:
        """It answers."""


# Nobody is too quick here, nor has too much under way.
RATES = RateLimits(
    writes_per_second=1e6, writes_burst=1e6, failures_per_second=1e6, failures_burst=1e6
)
LIMITS = UploadLimits(archive_bytes=100_000, open_uploads=1_000_000, workers=1)
SECRET = SecretStr("contract-key-" + "k" * 32)
ARCHIVE = archives.zipped(archives.class_folders())
# What takes the sample of a tensor in the document.
FILES = {
    **scenes.FILES,
    "model.onnx": onnx_models.tiny(channels=1, resolution=2),
    "config.json": json.dumps({"classes": ["ant", "bee", "cat", "dog"]}).encode(),
}
ENOUGH = 5  # of what requests delete


@dataclass(frozen=True, slots=True)
class Scene:
    """Such a service, the key of somebody who may do everything, and the ids there are: of each
    kind, as paths and bodies name it."""

    app: FastAPI
    secret: str
    ids: Mapping[str, Sequence[str]]


@contextmanager
def served(home: Path) -> Iterator[Scene]:
    """The application over such a service."""
    with mock.patch.object(sandbox, "run", at_once), mock.patch.object(child, "_report"):
        yield from opened(home)


def at_once(
    task: str, terms: Mapping[str, Any], limits: UploadLimits, *, folder: Path, **_: Any
) -> Any:
    """What a confined child answers, without one: it would take longer than all else, hundreds of
    times, and has tests of its own."""
    told = child.TASKS[task]({**terms, "folder": str(folder)}, limits)
    return json.loads(json.dumps(told))


def opened(home: Path) -> Iterator[Scene]:
    """The scene, until who asked is done with it."""
    schema.migrate(f"sqlite:///{home / 'headstart.db'}")
    settings = Settings(
        home=home, auth="keys", rates=RATES, uploads=LIMITS,
        webhooks=WebhookSettings(enabled=True), secret_key=SECRET,
    )  # fmt: skip
    container = bootstrap.build(settings, queue=Nobody())
    try:
        ids = fill(replace(container, sessions=container.sessions.within(DEFAULT)))
        with container.sessions.begin() as session:
            _, secret = api_keys.create(session, DEFAULT, name="all", scope=Scope.ADMIN)
        yield Scene(create_app(container), secret, ids)
    finally:
        container.close()


def fill(container: Container) -> dict[str, Sequence[str]]:
    """Datasets, one of them with its images, jobs in several states, a search with its model, a
    supernet, uploads, webhooks."""
    target, source = scenes.dataset(container), scenes.dataset(container, "source")
    spare = scenes.dataset(container, "spare", statistics_only=True)
    supernet = scenes.supernet(container, source)
    scenes.ranking(container, target, source, supernet.id)
    search, model = scenes.finished(container, target, files=FILES)
    running = scenes.running(container, target)
    scenes.recorded(container, running)
    failed = scenes.failed(container, target, "gpu_oom", "The GPU ran out of memory.")
    path = container.settings.home / "archive.zip"
    path.write_bytes(ARCHIVE)
    imaged = registration.register(container, path, name="imaged").dataset
    scenes.queued(container, imaged)  # so that it cannot be deleted
    whole = [pieces.adopted(container, received(path), name="images.zip") for _ in range(ENOUGH)]
    hooks = [hooked(container) for _ in range(ENOUGH)]
    found: dict[str, Sequence[object]] = {
        "artifact": [*FILES],
        "against": [imaged.id, target.id],
        "dataset_id": [imaged.id, target.id, source.id, spare.id],
        "delivery_id": [delivery for _, delivery in hooks],
        "job_id": [running.id, failed.id, search.job_id, scenes.queued(container, target).id],
        "model_id": [model.id],
        "search_id": [search.id],
        "source_dataset_id": [source.id],
        "supernet_id": [supernet.id],
        "upload_id": [each.id for each in whole] + [begun(container) for _ in range(ENOUGH)],
        "webhook_id": [hook for hook, _ in hooks],
    }
    return {name: [str(each) for each in ids] for name, ids in found.items()}


def received(path: Path) -> Received:
    """The file, as a request has brought it."""
    data = path.read_bytes()
    return Received(path, len(data), hashlib.sha256(data).hexdigest())


def begun(container: Container) -> UUID:
    """An upload of which nothing has come yet."""
    with container.sessions.begin() as session:
        made = uploads.create(
            session, name="digits.zip", length=1_000, sha256=None,
            limits=container.settings.uploads,
        )  # fmt: skip
    return made.id


def hooked(container: Container) -> tuple[UUID, UUID]:
    """A webhook, and what waits to be sent to it."""
    with container.sessions.begin() as session:
        made, _ = webhooks.create(
            session, url="https://hooks.example/in", events=[EventType.JOB_QUEUED],
            description="", seal=Seal(SECRET),
        )  # fmt: skip
        return made.id, webhooks.send_test(session, made.id).id
