"""Images of more blocks than any program writes: refused before a decoder goes over them."""

import struct
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from core.data import image_blocks, images
from core.data.images import BadImage
from tests.attacks.pictures import (
    GREY,
    animated_gif,
    before_data,
    bmp_of_runs,
    chunk,
    many_scans,
    saved,
    webp_of_chunks,
)
from tests.unit.data.builders import encode, noise

COLOUR = noise(2, (37, 53, 3))
COM, ASIDE = b"\xff\xfe\0\2", image_blocks.MOST_ASIDE


def data_blocks_gif(size: int) -> bytes:
    """A large GIF whose data is in blocks of so many bytes."""
    data = encode(noise(3, (500, 500)), "GIF")
    at = data.index(b"\x2c", 13 + 3 * 256) + 11  # behind the image's own header
    packed, where = b"", at
    while length := data[where]:
        packed, where = packed + data[where + 1 : where + 1 + length], where + 1 + length
    parts = (packed[start : start + size] for start in range(0, len(packed), size))
    return data[:at] + b"".join(bytes([len(part)]) + part for part in parts) + data[where:]


GOOD: dict[str, Callable[[], bytes]] = {
    "chunks": lambda: before_data("PNG", chunk(b"teSt", b"x"), ASIDE - 10),
    "metadata of 15 MiB": lambda: before_data("PNG", chunk(b"teSt", bytes(2**20)), 15),
    "EXIF of 15 MiB": lambda: encode(COLOUR, "WEBP", exif=bytes(15 * 2**20)),
    "segments": lambda: before_data("JPEG", COM, ASIDE - 20),
    "a few fill bytes": lambda: before_data("JPEG", b"\xff", 100),
    "extensions": lambda: before_data("GIF", b"\x21\xfe\1x\0", ASIDE - 10),
    "blocks of data": lambda: data_blocks_gif(255),
    "frames": lambda: animated_gif(5_000),
    "WebP": lambda: webp_of_chunks(10_000),
    "scans": lambda: many_scans(64, image_blocks.MOST_SCANS - 10),
    "a BMP in runs": lambda: bmp_of_runs(64),
    "a JPEG with restarts": lambda: encode(COLOUR, "JPEG", restart_marker_blocks=1),
    "optimised": lambda: encode(noise(1, (300, 300, 3)), "JPEG", progressive=True, optimize=True),
}
BAD: dict[str, Callable[[], bytes]] = {
    "chunks": lambda: before_data("PNG", chunk(b"teSt", b"x"), ASIDE),
    "empty data": lambda: before_data("PNG", chunk(b"IDAT", b""), image_blocks.MOST_BLOCKS),
    "profiles": lambda: before_data("PNG", chunk(b"iCCP", b"x"), 5),
    "metadata of 17 MiB": lambda: before_data("PNG", chunk(b"iTXt", bytes(2**20)), 17),
    "EXIF of 17 MiB": lambda: encode(COLOUR, "WEBP", exif=bytes(17 * 2**20)),
    "segments": lambda: before_data("JPEG", COM, ASIDE),
    "segments of tables": lambda: before_data("JPEG", b"\xff\xc4\0\2", ASIDE),
    "fill bytes": lambda: before_data("JPEG", b"\xff", 2_000),
    "zeros": lambda: before_data("JPEG", b"\xff\0", 2_000),
    "restarts": lambda: before_data("JPEG", b"\xff\xd0", 2_000),
    "a header of 17 MiB": lambda: before_data("JPEG", b"\xff\xe3\xff\xff" + bytes(65_533), 272),
    "comments": lambda: before_data("GIF", b"\x21\xfe\1x\0", ASIDE + 1),
    "nothing": lambda: before_data("GIF", b"\0", ASIDE + 1),
    "blocks of one byte": lambda: data_blocks_gif(1),
    "unknown chunks": lambda: webp_of_chunks(image_blocks.MOST_BLOCKS),
    "scans": lambda: many_scans(64, image_blocks.MOST_SCANS),
    "runs": lambda: bmp_of_runs(1_500),
    "runs of half bytes": lambda: struct.pack(
        "<2sLHHLLllHHL", b"BM", 60, 0, 0, 54, 40, 7_000, -7_000, 1, 4, 2
    ) + bytes(60),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_many_blocks_are_an_image(name: str) -> None:
    assert images.decode(GOOD[name](), max_pixels=5 * 10**7, resolution=8).pixels.size > 0


@pytest.mark.parametrize("name", BAD)
def test_more_blocks_are_not(name: str) -> None:
    data = BAD[name]()
    with pytest.raises(BadImage) as caught:
        images.decode(data, max_pixels=5 * 10**7, resolution=8)
    assert caught.value.code == "bad_image"
    with pytest.raises(ValueError, match=r"needless|endless|without end|take too long"):
        image_blocks.check(kind_of(data), data)


def kind_of(data: bytes) -> str:
    kind = images.signatures.format_of(data[:12])
    assert kind is not None
    return kind


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP"])
def test_a_file_that_ends_anywhere_is_only_damaged(kind: str) -> None:
    """The check says nothing but ValueError and what the decoder is known to, and ends."""
    data = encode(GREY, kind)
    for end in range(len(data)):
        try:
            image_blocks.check(kind, data[:end])
        except (ValueError, struct.error):
            assert kind == "PNG"  # whose end must be there


def test_scans_are_counted_wherever_they_hide() -> None:
    plain, progressive = encode(COLOUR, "JPEG"), encode(COLOUR, "JPEG", progressive=True)
    assert (image_blocks.scans(plain), image_blocks.scans(progressive)) == (1, 10)
    # Neither a thumbnail before the image nor what follows it is gone over.
    exif = b"\xff\xe1" + (len(progressive) + 2).to_bytes(2, "big") + progressive
    assert image_blocks.scans(plain[:2] + exif + plain[2:] + progressive) == 1
    comment = b"\xff\xfe\x00\x04\xff\xd9"  # reads like an end
    at = progressive.index(b"\xff\xda")
    assert image_blocks.scans(progressive[:at] + comment + progressive[at:]) == 10
    assert image_blocks.scans(b"") == 0


def test_runs_are_still_decoded() -> None:
    runs = images.decode(bmp_of_runs(64), max_pixels=10**6)
    assert runs.pixels.shape == (64, 64)
    assert np.array_equal(runs.pixels, np.zeros((64, 64), np.uint8))  # its palette is all black
    assert images.decode(saved(Image.new("P", (64, 64), 7), "BMP"), max_pixels=10**6).is_grey
