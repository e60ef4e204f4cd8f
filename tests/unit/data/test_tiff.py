"""TIFF images where the operator wants them: the same pictures, and no more trouble."""

import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.config import UploadLimits
from core.data import images, packing
from core.data.images import BadImage
from core.data.prepared import ORIGINALS_NAME, PACKED_NAME
from tests.attacks.pictures import COLOUR, GREY, saved
from tests.unit.data.builders import dataset, encode, noise, zip_bytes
from tests.unit.data.conftest import Prepare

COMPRESSIONS = [None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "zstd"]


def decode(data: bytes, **options: int) -> images.Decoded:
    return images.decode(data, max_pixels=10**6, tiff=True, **options)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("pixels", [COLOUR, GREY], ids=["colour", "grey"])
def test_a_tiff_is_the_picture_that_it_shows(pixels: np.ndarray, compression: str | None) -> None:
    found = decode(encode(pixels, "TIFF", compression=compression))
    assert np.array_equal(found.pixels, pixels)
    assert found.digest() == decode(encode(pixels)).digest()


def test_pages_depth_ink_and_turns_are_noted() -> None:
    pages = [Image.fromarray(noise(seed)) for seed in range(3)]
    first = decode(saved(pages[0], "TIFF", save_all=True, append_images=pages[1:]))
    assert (first.notes, first.is_grey) == (("animated",), True)
    assert np.array_equal(first.pixels, noise(0))
    deep = Image.fromarray(noise(4).astype(np.uint16) * 257)
    assert decode(saved(deep, "TIFF")).notes == ("deep",)
    assert np.array_equal(decode(saved(deep, "TIFF")).pixels, noise(4))
    assert decode(saved(Image.fromarray(COLOUR).convert("CMYK"), "TIFF")).notes == ("cmyk",)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = decode(saved(Image.fromarray(COLOUR), "TIFF", exif=exif))
    assert (turned.size, turned.notes) == ("12x10", ("rotated",))
    assert np.array_equal(turned.pixels, np.rot90(COLOUR, -1))


def test_too_many_pixels_are_too_many_in_any_format() -> None:
    data = bytearray(encode(COLOUR, "TIFF"))
    width = data.index(b"\x00\x01\x04\x00\x01\x00\x00\x00")  # the tag's number, type and count
    data[width + 8 : width + 12] = (10**6).to_bytes(4, "little")
    with pytest.raises(BadImage) as caught:
        decode(bytes(data))
    assert caught.value.code == "image_too_large"


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_damage_is_a_bad_image_and_nothing_else(compression: str | None) -> None:
    dice, data = random.Random(0), encode(noise(1, (40, 30, 3)), "TIFF", compression=compression)
    refused = 0
    for _ in range(300):
        broken = bytearray(data)
        for _ in range(dice.randint(1, 4)):
            broken[dice.randrange(len(broken))] = dice.randrange(256)
        del broken[dice.randint(len(broken) // 2, 2 * len(broken)) :]
        try:
            decode(bytes(broken), resolution=16)
        except BadImage:
            refused += 1
    assert refused > 10


def test_an_upload_of_tiffs_becomes_a_dataset_where_they_are_allowed(prepare: Prepare) -> None:
    files = {
        name.replace(".png", ".tif"): encode(noise(index, (20, 20, 3)), "TIFF")
        for index, name in enumerate(dataset(5))
    }
    allowed = UploadLimits(tiff=True)
    found = prepare(zip_bytes(files), limits=allowed)
    assert (found.report.images_kept, found.report.problems) == (10, ())


def test_stored_tiffs_are_read_again_whatever_is_allowed_by_then(
    prepare: Prepare, tmp_path: Path
) -> None:
    files = {f"{n}/{i}.tif": encode(noise(ord(n) + 9 * i), "TIFF") for n in "ab" for i in (1, 2)}
    prepare(zip_bytes(files), limits=UploadLimits(tiff=True))
    folder = tmp_path / "out"
    target = tmp_path / "again"
    packing.repack(folder / ORIGINALS_NAME, target, resolution=32, channels=1, max_pixels=10**6)
    assert target.read_bytes() == (folder / PACKED_NAME).read_bytes()
