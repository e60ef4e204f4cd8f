"""Prepared files reach the store under the content's keys; failures store nothing."""

import hashlib
import io
from pathlib import Path
from typing import BinaryIO

import pytest

from core.config import UploadLimits
from core.domain import keys
from core.domain.identity import DEFAULT
from core.errors import BadArchive
from core.pipelines.ingest_dataset import ingest
from core.ports import Heard, unheard
from tests.unit.data.builders import dataset, write, zip_bytes


class Shelf:
    """An object store in memory."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def put(self, key: str, source: Path, *, heard: Heard = unheard) -> None:
        self.objects.setdefault(key, source.read_bytes())
        heard(source.stat().st_size)

    def open(self, key: str) -> BinaryIO:
        return io.BytesIO(self.objects[key])

    def exists(self, key: str) -> bool:
        return key in self.objects

    def check(self) -> None:
        """Always there."""


def test_originals_and_packed_are_stored_by_content(tmp_path: Path, limits: UploadLimits) -> None:
    shelf = Shelf()
    archive = write(tmp_path / "upload", zip_bytes(dataset(5)))
    told: list[int] = []
    prepared = ingest(
        archive,
        folder=tmp_path / "out",
        project=DEFAULT,
        store=shelf,
        limits=limits,
        heard=told.append,
    )
    assert sum(told) == prepared.size_bytes
    assert shelf.objects == {
        keys.originals(DEFAULT, prepared.sha256): prepared.originals.read_bytes(),
        keys.packed(DEFAULT, prepared.sha256, 32): prepared.packed.read_bytes(),
    }


def test_the_checksum_is_that_of_the_file_which_stays(
    tmp_path: Path, limits: UploadLimits
) -> None:
    shelf = Shelf()
    made = []
    for number, prefix in enumerate(("", "wrapped/")):
        archive = write(tmp_path / f"{number}.zip", zip_bytes(dataset(5, prefix=prefix)))
        made.append(
            ingest(
                archive, folder=tmp_path / str(number), project=DEFAULT, store=shelf, limits=limits
            )
        )
    first, second = made
    assert first.sha256 == second.sha256
    assert first.originals.read_bytes() != second.originals.read_bytes()
    stored = shelf.objects[keys.originals(DEFAULT, first.sha256)]
    assert first.originals_sha256 == second.originals_sha256 == hashlib.sha256(stored).hexdigest()


def test_a_refused_upload_stores_nothing(tmp_path: Path, limits: UploadLimits) -> None:
    shelf = Shelf()
    archive = write(tmp_path / "upload", zip_bytes(dataset(5, classes=["cat"])))
    with pytest.raises(BadArchive):
        ingest(archive, folder=tmp_path / "out", project=DEFAULT, store=shelf, limits=limits)
    assert shelf.objects == {}
    assert list((tmp_path / "out").iterdir()) == []
