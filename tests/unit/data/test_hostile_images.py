"""Images that are something else too, or far more than they seem (rows 23 to 25)."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from core.data import images
from core.data.images import BadImage
from core.data.prepared import ORIGINALS_NAME, PACKED_NAME
from core.errors import BadArchive
from tests.attacks.pictures import COLOUR, GREY, POLYGLOTS, SCRIPT, ZIP, animated_gif
from tests.unit.data.builders import dataset, encode, noise, zip_bytes
from tests.unit.data.conftest import Prepare


def decode(data: bytes) -> images.Decoded:
    return images.decode(data, max_pixels=50_000_000)


@pytest.mark.parametrize("data", POLYGLOTS.values(), ids=POLYGLOTS.keys())
def test_what_follows_an_image_is_never_seen(data: bytes) -> None:
    decoded = decode(data)
    assert np.array_equal(decoded.pixels, GREY)
    assert decoded.notes == ()


def test_a_comment_with_a_script_is_never_seen() -> None:
    jpeg = encode(COLOUR, "JPEG")
    plain = decode(jpeg)
    said = decode(encode(COLOUR, "JPEG", comment=SCRIPT))
    assert np.array_equal(said.pixels, plain.pixels)
    with pytest.raises(BadImage):
        decode(SCRIPT + jpeg)


def test_a_polyglot_is_kept_as_an_image_and_only_as_that(prepare: Prepare, tmp_path: Path) -> None:
    """Its bytes stay in the originals, a column of a Parquet file; no file of its own is made."""
    files = {**dataset(10), "cat/gifar.gif": POLYGLOTS["gifar"]}
    contents = prepare(zip_bytes(files))
    assert contents.report.images_kept == 21
    folder = tmp_path / "out"
    assert {path.name for path in folder.iterdir()} == {PACKED_NAME, ORIGINALS_NAME}
    column = pq.read_table(folder / ORIGINALS_NAME)["image"].to_pylist()
    kept = [image["bytes"] for image in column]
    assert POLYGLOTS["gifar"] in kept
    assert ZIP[:200] not in (folder / PACKED_NAME).read_bytes()


@pytest.mark.parametrize("front", [encode(GREY, "GIF"), encode(GREY), SCRIPT, b"#!/bin/sh\n"])
def test_an_upload_that_is_a_zip_and_something_else_is_refused(
    front: bytes, prepare: Prepare
) -> None:
    upload = front + zip_bytes(dataset())
    with zipfile.ZipFile(io.BytesIO(upload)) as file:  # others read it
        assert len(file.namelist()) == 10
    with pytest.raises(BadArchive) as caught:
        prepare(upload)
    assert caught.value.stable_code == "unsupported_archive"


def test_five_thousand_frames_are_one() -> None:
    decoded = decode(animated_gif(5_000))
    assert np.array_equal(decoded.pixels, GREY)
    assert decoded.notes == ("animated",)
    assert np.array_equal(decode(animated_gif(5_000)[:-3_000]).pixels, GREY)


@pytest.mark.parametrize("size", [2**20 + 1, 100 * 2**20])
def test_a_profile_that_swells_is_a_bad_image(size: int) -> None:
    bomb = encode(COLOUR, "PNG", icc_profile=bytes(size))
    assert len(bomb) < 200_000
    with pytest.raises(BadImage) as caught:
        decode(bomb)
    assert caught.value.code == "bad_image"


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_a_large_profile_changes_no_pixel(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    plain = decode(encode(COLOUR, kind, **options))
    profiled = decode(encode(COLOUR, kind, icc_profile=noise(4, (900_000,)).tobytes(), **options))
    assert np.array_equal(profiled.pixels, plain.pixels)
    assert profiled.notes == ()


@pytest.mark.parametrize("shape", [(1, 65_535), (65_535, 1)])
def test_a_sliver_is_an_image(shape: tuple[int, int]) -> None:
    sliver = noise(5, shape)
    decoded = decode(encode(sliver))
    assert np.array_equal(decoded.pixels, sliver)
    assert images.fit(decoded.pixels, 32).shape == (32, 32)
