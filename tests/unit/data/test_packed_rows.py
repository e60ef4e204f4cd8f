"""One image of a packed file is the one that was packed there; damage is named."""

import io
from pathlib import Path

import numpy as np
import pytest

from core.data import packed_rows, packing
from core.errors import CorruptObject


@pytest.fixture
def packed(tmp_path: Path) -> bytes:
    rows = [np.full((4, 4, 3), 10 * number, np.uint8) for number in range(5)]
    rows[3][0, 1] = (1, 2, 3)
    path = tmp_path / "packed.safetensors"
    packing.write(
        path, rows, labels=[0, 0, 1, 1, 1], split=[0, 0, 0, 0, 1], channels=3, resolution=4
    )
    return path.read_bytes()


def test_an_image_is_the_one_packed_there(packed: bytes, tmp_path: Path) -> None:
    whole = packing.read(tmp_path / "packed.safetensors").images
    for number in range(5):
        found = packed_rows.read_image(io.BytesIO(packed), number)
        assert np.array_equal(found, whole[number])
    assert found.shape == (3, 4, 4)


@pytest.mark.parametrize("number", [-1, 5, 2**80])
def test_an_image_that_is_not_there(packed: bytes, number: int) -> None:
    with pytest.raises(IndexError):
        packed_rows.read_image(io.BytesIO(packed), number)


def test_damage_is_named(packed: bytes) -> None:
    for damaged in (b"", packed[:5], b"\xff" * 99, packed[:-1], packed[:8] + b"x" * 500):
        with pytest.raises(CorruptObject):
            packed_rows.read_image(io.BytesIO(damaged), 4)
