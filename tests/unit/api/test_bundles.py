"""Supernets in and out as files: over HTTP, by command, and what is refused."""

import base64
import hashlib
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
import torch
from safetensors.torch import save_file
from sqlalchemy import update

from api.routes import bundles
from core.bootstrap import Container
from core.data import bundle as files
from core.db.result_tables import SupernetRow
from core.domain.supernets import Supernet
from core.pipelines import objects
from core.services import jobs, supernets
from core.zoo import shipped
from tests.unit.api import archives, scenes
from tests.unit.api.conftest import Bell, Say
from tests.unit.data.bundle_files import DATASETS, LINEAGE, TENSORS, encoded

BINARY = {"Content-Type": "application/octet-stream"}
ADDRESS = "/v1/supernets:import"


def post(client: httpx.Client, content: bytes) -> httpx.Response:
    return client.post(ADDRESS, content=content, headers=BINARY)


def left_over(container: Container) -> list[Path]:
    return list((container.settings.home / "uploads").rglob("*"))


def trained(container: Container, folder: Path) -> Supernet:
    """A supernet of a job, whose weights are in the store."""
    made = scenes.supernet(container, scenes.dataset(container))
    path = folder / "weights"
    save_file({"classifier.bias": torch.zeros(2), "stem": torch.full((3,), 0.1)}, path)
    container.store.put(made.key, path)
    with container.sessions.begin() as session:
        change = update(SupernetRow).where(SupernetRow.id == made.id)
        session.execute(change.values(sha256=objects.checksum(path)))
    return made


def test_a_file_becomes_a_supernet(client: httpx.Client, container: Container) -> None:
    answer = post(client, encoded())
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert answer.headers["location"] == f"/v1/supernets/{made['id']}"
    assert (made["dataset_id"], made["job_id"], made["name"]) == (None, None, "tiny")
    assert made["lineage"] == {**LINEAGE, "kind": "import"}
    assert client.get(answer.headers["location"]).json() == made
    again = post(client, encoded())
    assert (again.status_code, again.json()) == (200, made)
    other = post(client, encoded(name="another"))
    assert (other.status_code, other.json()["id"] == made["id"]) == (201, False)
    assert left_over(container) == []


def test_it_leaves_as_it_came(client: httpx.Client, container: Container) -> None:
    made = post(client, encoded()).json()
    answer = client.get(f"/v1/supernets/{made['id']}/bundle")
    assert (answer.status_code, answer.content) == (200, encoded())
    digest = base64.b64encode(hashlib.sha256(encoded()).digest()).decode()
    assert answer.headers["content-digest"] == f"sha-256=:{digest}:"
    assert answer.headers["content-disposition"] == 'attachment; filename="tiny.safetensors"'
    assert int(answer.headers["content-length"]) == len(encoded())
    seen = {"If-None-Match": f"W/{answer.headers['etag']}"}
    assert client.get(f"/v1/supernets/{made['id']}/bundle", headers=seen).status_code == 304
    missing = client.get(f"/v1/supernets/{uuid4()}/bundle")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    assert left_over(container) == []


def test_what_a_job_trained_leaves_as_a_bundle(
    client: httpx.Client, container: Container, tmp_path: Path
) -> None:
    made = trained(container, tmp_path)
    answer = client.get(f"/v1/supernets/{made.id}/bundle")
    assert answer.status_code == 200, answer.text
    (tmp_path / "bundle").write_bytes(answer.content)
    found = files.read(tmp_path / "bundle")
    assert found.manifest.name == made.name
    assert found.manifest.lineage["datasets"][0]["name"] == "animals"
    assert dict(found.shapes) == {"stem": (3,)}
    assert left_over(container) == []


def test_a_stored_file_that_changed_does_not_leave(
    client: httpx.Client, container: Container, tmp_path: Path
) -> None:
    made = trained(container, tmp_path)
    (stored,) = (container.settings.home / "objects").rglob(made.key)
    stored.write_bytes(b"changed")
    answer = client.get(f"/v1/supernets/{made.id}/bundle")
    assert (answer.status_code, answer.json()["code"]) == (500, "corrupt_object")
    assert left_over(container) == []


def test_a_search_may_start_from_it(
    client: httpx.Client, container: Container, bell: Bell
) -> None:
    made = post(client, encoded()).json()
    target = scenes.dataset(container)
    body = {"dataset_id": str(target.id), "policy": "supernet", "supernet_id": made["id"]}
    answer = client.post("/v1/searches", json=body)
    assert answer.status_code == 202, answer.text
    assert len(bell.rung) == 1
    trunk = {"embedder": f"trunk@{made['id']}"}
    refused = client.post(f"/v1/datasets/{target.id}:embed", json=trunk)
    assert (refused.status_code, refused.json()["code"]) == (422, "unknown_embedder")


def test_a_supernet_of_several_goes_on_learning(
    client: httpx.Client, container: Container, bell: Bell
) -> None:
    several = {**LINEAGE, "datasets": [*DATASETS, {**DATASETS[0], "sha256": "c" * 64}]}
    made = post(client, encoded(lineage=several)).json()
    space = {"channels": 2, "layers": 3, "nodes": 1, "cells": "s2", "resolution": 16}
    body = {
        "dataset_id": str(scenes.dataset(container).id),
        "name": "child",
        "space": space,
        "continue_from": made["id"],
    }
    answer = client.post("/v1/supernets", json=body)
    assert answer.status_code == 202, answer.text
    with container.sessions.read() as session:
        assert jobs.listing(session, limit=1)[0][0].spec["continue_from"] == made["id"]
    other = client.post("/v1/supernets", json=body | {"space": {**space, "nodes": 2}})
    assert (other.status_code, other.json()["code"]) == (422, "invalid_input")
    assert [each["place"] for each in other.json()["errors"]] == ["space.nodes"]
    unknown = client.post("/v1/supernets", json=body | {"continue_from": str(uuid4())})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
    assert len(bell.rung) == 1


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        (b"", BINARY, 422, "empty_body"),
        (b"x", {"Content-Type": "application/zip"}, 415, "unsupported_media_type"),
        (archives.zipped(archives.class_folders()), BINARY, 422, "bad_bundle"),
        (encoded()[:-1], BINARY, 422, "bad_bundle"),
        (encoded(sha256="0" * 64), BINARY, 422, "bad_bundle"),
        (encoded(space={"channels": 3}), BINARY, 422, "bad_bundle"),
        (b"x", {**BINARY, "Content-Digest": f"sha-256=:{'A' * 43}=:"}, 422, "digest_mismatch"),
    ],
)  # fmt: skip
def test_what_is_no_such_file(
    client: httpx.Client,
    container: Container,
    content: bytes,
    headers: dict[str, str],
    status: int,
    code: str,
) -> None:
    answer = client.post(ADDRESS, content=content, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    with container.sessions.read() as session:
        assert supernets.listing(session, limit=9)[0] == ()
    assert left_over(container) == []


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_that_is_too_large_is_cut_off(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch, announced: bool
) -> None:
    assert bundles.EXPECTED.limit == files.LARGEST_FILE
    monkeypatch.setattr(bundles, "EXPECTED", replace(bundles.EXPECTED, limit=2**20))
    content = b"\0" * (2**20 + 1)
    sent = content if announced else iter([content])
    answer = client.post(ADDRESS, content=sent, headers=BINARY)
    assert (answer.status_code, answer.json()["code"]) == (413, "bundle_too_large")


def test_all_that_is_wrong_in_one_answer(client: httpx.Client) -> None:
    tensors = {**TENSORS, "w": ("BF16", [1], bytes.fromhex("c07f"))}
    answer = post(client, encoded(tensors, name="", resolution=1))
    assert [(each["place"], each["code"]) for each in answer.json()["errors"]] == [
        ("manifest.name", "invalid"),
        ("manifest.resolution", "invalid"),
        ("w", "not_finite"),
    ]


def test_the_page_says_what_it_was_trained_on(client: httpx.Client, browser: httpx.Client) -> None:
    names = ("digits", "<b>letters</b>", "shapes", "signs")
    datasets = [{**DATASETS[0], "name": name} for name in names]
    assert post(client, encoded(lineage={**LINEAGE, "datasets": datasets})).status_code == 201
    page = browser.get("/").text
    assert "4 datasets: digits, &lt;b&gt;letters&lt;/b&gt;, shapes, … (imported)" in page
    assert "/datasets/None" not in page


def test_the_commands(
    client: httpx.Client,
    say: Say,
    container: Container,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    package = tmp_path / "package"
    package.mkdir()
    monkeypatch.setattr(shipped, "folder", lambda: package)
    assert "No supernet comes with this package." in say("zoo", "list")
    assert say("zoo", "install").startswith("1\n")
    (package / "one.safetensors").write_bytes(encoded())
    (package / "two.safetensors").write_bytes(encoded(name="second"))
    listed = say("zoo", "list").splitlines()
    assert [line.split()[0] for line in listed[2:]] == ["one", "two"]
    assert all(line.rstrip().endswith(" no") for line in listed[2:])
    assert (
        "the package has no supernet 'three'; it has: one, two"
        in say("zoo", "install", "three").lower()
    )
    installed = say("zoo", "install", "one")
    assert installed.startswith("0\nsupernet ")
    assert "tiny: digits (imported)" in installed
    (made,) = client.get("/v1/supernets").json()["items"]
    assert say("zoo", "list").splitlines()[2].rstrip().endswith(made["id"])
    assert say("zoo", "install").startswith("0\n")  # all of them; the first is there
    assert len(client.get("/v1/supernets").json()["items"]) == 2
    registered = say("supernets")
    assert made["id"] in registered
    assert "digits (imported)" in registered
    file = tmp_path / "exported.safetensors"
    assert say("zoo", "export", made["id"], str(file)) == f"0\n{file}\n"
    assert file.read_bytes() == encoded()
    assert f"supernet {made['id']}" in say("zoo", "import", str(file))
    file.write_bytes(b"damaged")
    refused = say("zoo", "import", str(file))
    assert refused.startswith("1\n")
    assert "bad_bundle" in refused
    absent = say("zoo", "export", str(uuid4()), str(tmp_path / "absent"))
    assert absent.startswith("1\n")
    assert not (tmp_path / "absent").exists()
    with container.sessions.read() as session:
        assert jobs.listing(session, limit=1)[0] == ()
