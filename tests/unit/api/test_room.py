"""What there is room for: every file that a project brings counts, before its first byte is here,
and so do jobs that wait."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

import httpx
import pytest

from api.app import create_app
from core.bootstrap import Container
from core.config import QueueLimits
from core.domain.identity import DEFAULT, Limits
from core.services import projects, uploads
from core.storage.local import LocalStore
from tests.unit.api import archives, scenes
from tests.unit.api.conftest import Served
from tests.unit.data import bundle_files, statistics_files

ZIP, BINARY = "application/zip", "application/octet-stream"
Door = tuple[str, str, Callable[[], bytes]]
DOORS: list[Door] = [
    ("/v1/datasets", ZIP, lambda: archives.zipped(archives.class_folders())),
    ("/v1/datasets:statistics", BINARY, statistics_files.encoded),
    ("/v1/supernets:import", BINARY, bundle_files.encoded),
]


def sent(client: httpx.Client, door: Door) -> httpx.Response:
    path, media, content = door
    headers = {"Content-Type": media}
    return client.post(path, params=_named(path), content=content(), headers=headers)


def _named(path: str) -> dict[str, str]:
    return {} if "supernets" in path else {"name": "x"}


def allow(container: Container, most: int) -> None:
    with container.sessions.begin() as session:
        projects.limit(session, DEFAULT, Limits(stored_bytes=most))


def used(container: Container) -> int:
    with container.sessions.read() as session:
        return uploads.used_bytes(session)


@pytest.mark.parametrize("door", DOORS)
def test_what_is_brought_counts_as_what_it_takes(
    client: httpx.Client, container: Container, door: Door
) -> None:
    assert sent(client, door).status_code == 201
    stored = sum(each.size for each in container.store.listing(""))
    assert client.get("/v1/me").json()["used"]["stored_bytes"] == stored == used(container) > 0
    assert sent(client, door).status_code == 200
    assert used(container) == stored


@pytest.mark.parametrize("door", DOORS)
def test_no_byte_is_received_that_there_is_no_room_for(container: Container, door: Door) -> None:
    allow(container, 999)
    path, media, _ = door
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"&".join(f"{a}={b}".encode() for a, b in _named(path).items()),
        "root_path": "",
        "headers": [
            (b"host", b"localhost"),
            (b"content-type", media.encode()),
            (b"content-length", b"1000"),
        ],
    }
    answers: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        raise AssertionError("the body was asked for")

    async def send(message: dict[str, Any]) -> None:
        answers.append(message)

    asyncio.run(create_app(container)(scope, receive, send))  # type: ignore[arg-type]
    assert answers[0]["status"] == 413
    assert b"quota_exceeded" in answers[1]["body"]


@pytest.mark.parametrize("door", DOORS)
def test_what_finds_its_room_taken_leaves_nothing(
    client: httpx.Client, container: Container, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = LocalStore.put

    def taken(*given: Any, **more: Any) -> None:
        put(*given, **more)
        allow(container, 1)  # as if another had come first

    monkeypatch.setattr(LocalStore, "put", taken)
    answer = sent(client, door)
    assert (answer.status_code, answer.json()["code"]) == (413, "quota_exceeded")
    assert list(container.store.listing("")) == []
    assert used(container) == 0
    monkeypatch.undo()
    allow(container, 10**9)
    assert sent(client, door).status_code == 201


def test_what_may_have_no_job_leaves_nothing(client: httpx.Client, container: Container) -> None:
    """Else whoever has used up its jobs could fill the store with what nothing counts."""
    with container.sessions.begin() as session:
        projects.limit(session, DEFAULT, Limits(active_jobs=0))
    answer = sent(client, DOORS[0])
    assert (answer.status_code, answer.json()["code"]) == (429, "too_many_jobs")
    assert list(container.store.listing("")) == []
    assert client.get("/v1/datasets").json()["items"] == []
    path, media, content = DOORS[0]
    orphan = {"name": "x", "parent_id": str(uuid4())}
    headers = {"Content-Type": media}
    assert client.post(path, params=orphan, content=content(), headers=headers).is_client_error
    assert list(container.store.listing("")) == []


def test_a_full_queue_says_when_to_come_again(
    client: httpx.Client, served: Served, container: Container
) -> None:
    target = scenes.dataset(container)
    full = container.settings.model_copy(update={"queue": QueueLimits(jobs=1)})
    served.app.state.container = replace(container, settings=full)
    assert client.post(f"/v1/datasets/{target.id}:rank").status_code == 202
    refused = client.post("/v1/searches", json={"dataset_id": str(target.id)})
    assert (refused.status_code, refused.json()["code"]) == (503, "queue_full")
    assert refused.headers["retry-after"] == "30"
    assert len(client.get("/v1/jobs").json()["items"]) == 1
