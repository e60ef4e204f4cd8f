"""`headstart zoo build`: what is wrong with its folder and its file is said before any upload."""

import json
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.unit.api import archives
from tests.unit.api.conftest import Say


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "archives"
    made.mkdir()
    for name in ("animals.zip", "birds.tar.gz"):
        pack = archives.zipped if name.endswith(".zip") else archives.tarred
        (made / name).write_bytes(pack(archives.class_folders()))
    (made / "notes.txt").write_text("no archive")
    return made


def build(say: Say, folder: Path, *more: str) -> str:
    out = folder.parent / "made.safetensors"
    said = say("zoo", "build", str(folder), "--out", str(out), "--name", "net", *more)
    assert not out.exists()
    return said


def test_a_name_that_is_not_there(say: Say, folder: Path, client: httpx.Client) -> None:
    refused = build(say, folder, "--only", "animals", "--only", "fish")
    assert refused.startswith("1\n")
    assert "has no archive 'fish'" in refused
    assert client.get("/v1/datasets").json()["items"] == []


def test_one_archive_is_too_few(say: Say, folder: Path) -> None:
    refused = build(say, folder, "--only", "birds")
    assert refused.startswith("1\n")
    assert "1 archives; 2 or more are needed" in refused


@pytest.mark.usefixtures("worker")
def test_one_is_enough_to_go_on_from_another(say: Say, folder: Path) -> None:
    parent = str(uuid4())
    refused = build(say, folder, "--only", "birds", "--continue-from", parent)
    assert refused.startswith("1\n")
    assert f"There is no supernet {parent}" in refused


@pytest.mark.parametrize(
    "about", ["no json", "[]", json.dumps({"birds": 1}), json.dumps({"birds": {"owner": "me"}})]
)
def test_what_is_told_of_the_archives_must_be_fit(
    say: Say, folder: Path, client: httpx.Client, about: str
) -> None:
    told = folder.parent / "about.json"
    told.write_text(about)
    assert build(say, folder, "--about", str(told)).startswith("1\n")
    assert client.get("/v1/datasets").json()["items"] == []
