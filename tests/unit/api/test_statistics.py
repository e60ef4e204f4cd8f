"""Registering by class statistics: over HTTP, by command, and what is refused afterwards."""

from pathlib import Path

import httpx
import numpy as np
import pytest

from core.bootstrap import Container
from core.data.class_statistics import LARGEST_FILE
from core.services import datasets
from tests.unit.api import archives
from tests.unit.api.conftest import Bell, Say
from tests.unit.data.statistics_files import EMBEDDER, about, encoded

BINARY = {"Content-Type": "application/octet-stream"}
ADDRESS = "/v1/datasets:statistics"


def post(client: httpx.Client, content: bytes, name: str = "Owned") -> httpx.Response:
    return client.post(ADDRESS, params={"name": name}, content=content, headers=BINARY)


def test_a_file_becomes_a_dataset(client: httpx.Client, container: Container, bell: Bell) -> None:
    answer = post(client, encoded())
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert answer.headers["location"] == f"/v1/datasets/{made['id']}"
    assert (made["statistics_only"], made["n_test"]) == (True, 0)
    assert bell.rung == []
    assert client.get(answer.headers["location"]).json()["name"] == "Owned"
    page = client.get(f"/datasets/{made['id']}", headers={"Accept": "text/html"})
    assert page.status_code == 200
    again = post(client, encoded(), "Another name")
    assert (again.status_code, again.json()["id"]) == (200, made["id"])
    with container.sessions.read() as session:
        (kept,) = datasets.listing(session, limit=9)[0]
        seen = datasets.embedding(session, kept.id, EMBEDDER)
    assert seen is not None
    assert container.store.exists(seen.key)
    uploads = container.settings.home / "scratch"
    assert list(uploads.rglob("*")) == []


def test_statistics_go_and_come_back(client: httpx.Client, container: Container) -> None:
    made = post(client, encoded()).json()
    asked = client.get(f"/datasets/{made['id']}/delete", headers={"Accept": "text/html"})
    assert "class statistics" in asked.text
    assert client.delete(f"/v1/datasets/{made['id']}").status_code == 204
    assert list(container.store.listing("")) == []
    assert client.get(f"/v1/datasets/{made['id']}").json()["code"] == "dataset_deleted"
    again = post(client, encoded())
    assert (again.status_code, again.json()["id"]) == (201, made["id"])
    assert len(list(container.store.listing(""))) == 1


def test_what_needs_images_is_refused(client: httpx.Client) -> None:
    made = post(client, encoded()).json()["id"]
    training = {"dataset_id": made, "name": "net"}
    for method, path, body in (
        ("POST", f"/v1/datasets/{made}:embed", {}),
        ("POST", f"/v1/datasets/{made}:rank", {"embedder": "resnet18@1"}),
        ("POST", "/v1/supernets", training),
        ("POST", "/v1/searches", {"dataset_id": made}),
        ("GET", f"/v1/datasets/{made}/examples/0.png", None),
        ("GET", f"/v1/datasets/{made}/images/0.png", None),
        ("GET", f"/v1/datasets/{made}/export", None),
    ):
        answer = client.request(method, path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (409, "statistics_only"), path
    ranked = client.post(f"/v1/datasets/{made}:rank", json={"embedder": EMBEDDER})
    assert ranked.status_code == 202


def test_all_that_is_wrong_in_one_answer(client: httpx.Client, container: Container) -> None:
    content = encoded(
        counts=np.array([0, 1, 2]), means=np.full((3, 5), np.nan), about=about(classes=[])
    )
    answer = post(client, content)
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_statistics")
    assert {(each["place"], each["code"]) for each in answer.json()["errors"]} == {
        ("counts", "out_of_range"),
        ("means", "not_finite"),
        ("about", "unreadable"),
    }
    with container.sessions.read() as session:
        assert datasets.listing(session, limit=9)[0] == ()
    assert list((container.settings.home / "scratch").rglob("*")) == []


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        (b"", BINARY, 422, "empty_body"),
        (b"x", {"Content-Type": "application/zip"}, 415, "unsupported_media_type"),
        (archives.zipped(archives.class_folders()), BINARY, 422, "bad_statistics"),
        (b"x", {**BINARY, "Content-Digest": f"sha-256=:{'A' * 43}=:"}, 422, "digest_mismatch"),
    ],
)  # fmt: skip
def test_what_is_no_such_file(
    client: httpx.Client, content: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    answer = client.post(ADDRESS, params={"name": "n"}, content=content, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_a_body_that_grows_too_large_is_cut_off(client: httpx.Client) -> None:
    pieces = (b"\0" * 2**20 for _ in range(LARGEST_FILE // 2**20 + 1))
    answer = client.post(ADDRESS, params={"name": "n"}, content=pieces, headers=BINARY)
    assert (answer.status_code, answer.json()["code"]) == (413, "statistics_file_too_large")


def test_the_commands(
    client: httpx.Client,
    say: Say,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HEADSTART_DEVICE", "cpu")
    images, file = tmp_path / "images.zip", tmp_path / "statistics.safetensors"
    images.write_bytes(archives.zipped(archives.class_folders()))
    options = ("--embedder", EMBEDDER, "--anonymous")
    written = say("statistics", str(images), "--out", str(file), *options)
    assert written.startswith(f"0\n{file}\n2 classes, ")
    registered = say("register-statistics", str(file), "--name", "kept at home")
    assert registered.startswith("0\ndataset ")
    (made,) = client.get("/v1/datasets").json()["items"]
    assert (made["name"], made["classes"]) == ("kept at home", ["class 1", "class 2"])
    assert say("embed", "--all") == "0\n"
    file.write_bytes(b"damaged")
    refused = say("register-statistics", str(file), "--name", "n")
    assert refused.startswith("1\n")
    assert "bad_statistics" in refused
