"""Flip bytes anywhere in small archives: a dataset or a refusal, never anything else."""

import random
from pathlib import Path

import pyarrow as pa
import pytest

from core.config import UploadLimits
from core.data import preparation
from core.data.prepared import ORIGINALS_NAME, PACKED_NAME
from core.domain.datasets import AS_USUAL
from core.errors import AppError
from tests.unit.data.builders import dataset, tar_bytes, zip_bytes

SMALL = {**dataset(2), "notes.txt": b"hello"}
ARCHIVES = {
    "zip": zip_bytes(SMALL),
    "stored zip": zip_bytes(SMALL, 0),
    "tar": tar_bytes(SMALL),
    "tar.gz": tar_bytes(SMALL, "w:gz"),
    "tar.zst": pa.compress(tar_bytes(SMALL), codec="zstd", asbytes=True),
}
FLIPS = 125


@pytest.mark.parametrize("kind", ARCHIVES)
def test_mutated_archives_never_escape_or_crash(kind: str, tmp_path: Path) -> None:
    chance = random.Random(kind)
    limits = UploadLimits(unreadable_share=0.5, image_pixels=100_000, expanded_bytes=10**7)
    folder, upload = tmp_path / "sandbox" / "out", tmp_path / "upload"
    folder.mkdir(parents=True)
    outcomes = {"refused": 0, "accepted": 0}
    for _ in range(FLIPS):
        data = bytearray(ARCHIVES[kind])
        for _ in range(chance.choice((1, 1, 2, 8))):
            data[chance.randrange(len(data))] = chance.randrange(256)
        upload.write_bytes(data)
        try:
            preparation.prepare(
                [upload], folder, limits, AS_USUAL, resolution=8, report=lambda _: None
            )
        except AppError:  # anything else fails the test by being raised
            outcomes["refused"] += 1
        else:
            outcomes["accepted"] += 1
        names = {path.name for path in tmp_path.rglob("*")}
        assert names <= {
            "sandbox", "out", "upload", "thumbnails.bin", PACKED_NAME, ORIGINALS_NAME,
        }  # fmt: skip
    assert min(outcomes.values()) > 0
