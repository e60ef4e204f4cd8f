"""A service that may fetch from one endpoint, which answers as a test says."""

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from core.bootstrap import Container
from core.db.upload_tables import UploadRow
from core.domain import keys
from core.domain.identity import DEFAULT
from tests.fixtures.impostor import Impostor, honest, impostor
from tests.unit.api.conftest import Served

DATA = random.Random(5).randbytes(100_000)
PART = 30_000  # so that the data comes in four spans
SECRETS = {
    "access_key": "CANARY-access-key",
    "secret_key": "CANARY-secret-key",
    "session_token": "CANARY-session-token",
}
Fetch = Callable[..., httpx.Response]


@pytest.fixture
def endpoint() -> Iterator[Impostor]:
    with impostor(honest(DATA)) as made:
        yield made


@pytest.fixture
def listed(container: Container, endpoint: Impostor, served: Served) -> Container:
    """The service of an operator who lists the endpoint; its parts are small."""
    return serving(served, container, endpoint.url)


@pytest.fixture
def fetch(client: httpx.Client, endpoint: Impostor, listed: Container) -> Fetch:
    def run(**changes: Any) -> httpx.Response:
        body = {"uri": "s3://bucket/some/a.zip", "endpoint": endpoint.url, **SECRETS, **changes}
        return client.post("/v1/uploads:s3", json=body)

    return run


def serving(served: Served, container: Container, *endpoints: str, **limits: Any) -> Container:
    uploads = container.settings.uploads.model_copy(update={"part_bytes": PART, **limits})
    told = {"s3_endpoints": endpoints, "uploads": uploads}
    made = replace(container, settings=container.settings.model_copy(update=told))
    served.app.state.container = made
    return made


def nothing_left(container: Container) -> bool:
    with container.sessions.read() as session:
        rows = session.scalars(select(UploadRow)).all()
    walked = os.walk(container.settings.home / "scratch")  # some of it may go meanwhile
    files = [name for _, _, names in walked for name in names]
    return (list(rows), list(container.store.listing(keys.uploads(DEFAULT))), files) == (
        [],
        [],
        [],
    )


def code(response: httpx.Response) -> tuple[int, str]:
    assert "CANARY" not in response.text
    return response.status_code, response.json()["code"]
