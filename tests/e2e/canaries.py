"""Secrets that are planted where an operator or a caller has some, and looked for everywhere."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import Service

URL = "https://hooks.invalid/CANARY-url"
# Of the latest of each kind.
LOOKED_AT = {"models": ("",), "searches": ("",), "supernets": ("", "/bundle"),
             "jobs": ("", "/records", "/events")}  # fmt: skip


@pytest.fixture
def nothing_leaks(http: httpx.Client, service: Service, tmp_path: Path) -> Iterator[None]:
    """No secret is in what the service tells of the test's results, in the files that the test
    fetched, in a stored object, in the log or in the database; and where the service's home lies
    is in nothing that leaves it."""
    secrets = _planted(http)
    yield
    places = dict(_leaving(http, service, tmp_path / "model"))
    for expected in ("README.md", "config.json", ".safetensors", "/bundle", ".onnx"):
        assert [name for name in places if name.endswith(expected)], expected
    for secret in (*secrets, str(service.home)):
        assert not [name for name, data in places.items() if secret.encode() in data], secret
    with closing(sqlite3.connect(service.home / "headstart.db")) as database:
        dump = "\n".join(database.iterdump())
    assert URL in dump
    for secret in secrets:
        assert secret not in service.log.read_text()
        assert secret not in dump.replace(URL, "")


def _planted(http: httpx.Client) -> tuple[str, ...]:
    """The operator's have the same beginning. A caller has a key that nobody asked for, and a
    webhook that nothing reaches."""
    http.headers["Authorization"] = "Bearer CANARY-key"
    made = http.post("/v1/webhooks", json={"url": URL, "events": ["search.succeeded"]})
    assert made.status_code == 201, made.text
    return "CANARY", made.json()["secret"].removeprefix("whsec_")


def _leaving(http: httpx.Client, service: Service, fetched: Path) -> Iterator[tuple[str, bytes]]:
    for kind, parts in LOOKED_AT.items():
        (latest,) = http.get(f"/v1/{kind}?page_size=1").json()["items"]
        for part in parts:
            answer = http.get(f"/v1/{kind}/{latest['id']}{part}")
            assert answer.is_success, answer.url
            yield f"{kind}{part}", answer.content
    for root in (fetched, service.home / "objects"):
        files = [each for each in root.rglob("*") if each.is_file()]
        assert files, root
        yield from ((str(each), each.read_bytes()) for each in files)
