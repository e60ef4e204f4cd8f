"""Odd and hostile images: converted in a defined way, or refused with a code."""

import contextlib
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from core.data import images
from core.data.images import BadImage
from core.errors import BadArchive
from tests.attacks.pictures import BAD, COLOUR, JPEG, chunk, png_header, saved
from tests.unit.data.builders import dataset, encode, noise, zip_bytes
from tests.unit.data.conftest import Prepare

MAX = 50_000_000


def decode(data: bytes) -> images.Decoded:
    return images.decode(data, max_pixels=MAX)


@pytest.mark.parametrize(("data", "code"), BAD.values(), ids=BAD.keys())
def test_bad_image_is_refused_with_its_code(data: bytes, code: str) -> None:
    with pytest.raises(BadImage) as caught:
        decode(data)
    assert caught.value.code == code
    assert len(caught.value.message) > 15


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP"])
def test_lossless_formats_keep_every_pixel(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    assert np.array_equal(decode(encode(COLOUR, kind, **options)).pixels, COLOUR)


def test_same_picture_has_one_digest_in_every_format_and_mode() -> None:
    grey = noise(4)
    stacked = np.repeat(grey[..., None], 3, axis=2)
    files = [encode(grey), encode(stacked), encode(grey, "BMP"), encode(grey, "GIF")]
    decoded = [decode(data) for data in files]
    assert len({image.digest() for image in decoded}) == 1
    assert all(image.is_grey for image in decoded)
    assert decode(encode(noise(5))).digest() != decoded[0].digest()
    # The same bytes in another shape are another picture.
    assert decode(encode(grey.reshape(4, 16))).digest() != decoded[0].digest()


def test_sixteen_bits_of_colour_are_said_too() -> None:
    def deep_png(depth: int, colour: int, row: bytes) -> bytes:
        header = chunk(b"IHDR", struct.pack(">LLBBBBB", 2, 1, depth, colour, 0, 0, 0))
        data = chunk(b"IDAT", zlib.compress(b"\0" + row))
        return b"\x89PNG\r\n\x1a\n" + header + data + chunk(b"IEND", b"")

    colours = decode(deep_png(16, 2, bytes(range(0, 240, 20))))
    assert (colours.mode, colours.notes) == ("RGB", ("deep",))
    assert decode(deep_png(16, 0, b"\0\0\xff\xff")).notes == ("deep",)
    assert decode(deep_png(8, 2, b"\0\1\2\3\4\5")).notes == ()


@pytest.mark.parametrize("where", [40, -6])
def test_a_chunk_that_does_not_match_its_checksum_is_damage(where: int) -> None:
    data = bytearray(encode(noise(6)))
    data[where] ^= 1
    with pytest.raises(BadImage, match="damaged"):
        decode(bytes(data))


def test_transparency_is_drawn_over_white() -> None:
    clear = Image.new("RGBA", (4, 4), (10, 20, 30, 0))
    assert (decode(saved(clear)).pixels == 255).all()
    assert decode(saved(clear)).notes == ("transparent",)
    half = decode(saved(Image.new("LA", (4, 4), (0, 128))))
    assert half.is_grey
    assert abs(int(half.pixels[0, 0]) - 127) <= 1
    opaque = decode(saved(Image.new("RGBA", (4, 4), (1, 2, 3, 255))))
    assert opaque.notes == ()
    assert opaque.pixels[0, 0].tolist() == [1, 2, 3]


def test_palette_with_and_without_transparency() -> None:
    palette = Image.fromarray(COLOUR).quantize(16)
    assert np.array_equal(decode(saved(palette)).pixels, np.asarray(palette.convert("RGB")))
    flat = Image.new("P", (4, 4), 0)
    flat.putpalette([200, 10, 10])
    assert decode(saved(flat, transparency=bytes([0]))).notes == ("transparent",)
    assert (decode(saved(flat, transparency=0)).pixels == 255).all()
    assert (
        decode(saved(Image.new("L", (4, 4), 7), transparency=7)).pixels.tolist() == [[255] * 4] * 4
    )


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    deep = np.array([[0, 257, 32896, 65535]], np.uint16)
    decoded = decode(encode(deep))
    assert decoded.pixels.tolist() == [[0, 1, 128, 255]]
    assert decoded.notes == ("deep",)


def test_cmyk_and_bilevel() -> None:
    red = decode(saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))
    assert red.pixels[4, 4, 0] > 230
    assert red.pixels[4, 4, 1] < 40
    assert red.notes == ("cmyk",)
    bits = decode(saved(Image.new("1", (3, 2), 1)))
    assert bits.pixels.tolist() == [[255] * 3] * 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    upright = np.zeros((16, 8, 3), np.uint8)
    upright[:8, :4] = (255, 0, 0)  # red top left
    upright[8:, 4:] = (0, 0, 255)
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    stored = Image.fromarray(upright)
    if orientation in undo:
        stored = stored.transpose(undo[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode(saved(stored, exif=exif))
    assert np.array_equal(decoded.pixels, upright)
    assert ("rotated" in decoded.notes) == (orientation > 1)


def test_broken_metadata_is_ignored() -> None:
    plain = encode(noise(6, (16, 16, 3)), "JPEG")
    for broken in (
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\1" * 900,
    ):
        segment = b"\xff\xe1" + struct.pack(">H", len(broken) + 2) + broken
        decoded = decode(plain[:2] + segment + plain[2:])
        assert np.array_equal(decoded.pixels, decode(plain).pixels)
        assert decoded.notes == ("metadata",)
    profiled = encode(COLOUR, "PNG", icc_profile=b"not a profile" * 50)
    assert np.array_equal(decode(profiled).pixels, COLOUR)
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "x" * 1000)
    assert np.array_equal(decode(encode(COLOUR, pnginfo=text)).pixels, COLOUR)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_animation_gives_its_first_frame(kind: str) -> None:
    frames = [Image.fromarray(np.full((6, 6), shade, np.uint8)) for shade in (40, 90, 200)]
    options = {"lossless": True} if kind == "WEBP" else {}
    animated = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    decoded = decode(animated)
    assert decoded.notes == ("animated",)
    assert (decoded.pixels == 40).all()


@pytest.mark.parametrize("shape", [(1, 65_535), (65_535, 1), (1, 1), (3, 200, 3), (31, 33)])
def test_fit_gives_a_square_of_any_shape(shape: tuple[int, ...]) -> None:
    square = images.fit(noise(8, shape), 32)
    assert square.shape == (32, 32, *shape[2:])
    assert square.dtype == np.uint8


def test_fit_keeps_aspect_and_fills_with_the_border() -> None:
    wide = np.full((10, 40), 200, np.uint8)
    wide[2:8, 10:30] = 0
    square = images.fit(wide, 20)
    assert (square[:6] == 200).all()
    assert (square[-6:] == 200).all()
    assert square[9, 10] < 60


def test_fit_of_the_right_size_changes_nothing() -> None:
    assert np.array_equal(images.fit(COLOUR[:10], 10), COLOUR[:10])


def test_fit_antialiases() -> None:
    board = np.indices((64, 64)).sum(0) % 2 * np.uint8(255)
    assert abs(images.fit(board.astype(np.uint8), 8).astype(int) - 127).max() < 10


@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"GIF89a", b"BM", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"]),
)
def test_any_bytes_decode_or_are_bad(data: bytes, prefix: bytes) -> None:
    # Anything but BadImage fails the test by being raised.
    with contextlib.suppress(BadImage):
        assert images.decode(prefix + data, max_pixels=10_000).pixels.size > 0


def test_one_truncated_jpeg_among_many_is_left_out_and_listed(prepare: Prepare) -> None:
    files = {**dataset(60), "cat/cut.jpg": JPEG[:500]}
    report = prepare(zip_bytes(files)).report
    assert (report.images_seen, report.images_kept) == (121, 120)
    (problem,) = report.problems
    assert (problem.severity, problem.code, problem.place) == ("error", "bad_image", "cat/cut.jpg")


def test_too_many_bad_images_refuse_the_upload_and_are_all_listed(prepare: Prepare) -> None:
    bad = {"cat/cut.jpg": JPEG[:500], "dog/empty.png": b"", "dog/note.gif": b"text"}
    with pytest.raises(BadArchive) as caught:
        prepare(zip_bytes({**dataset(60), **bad}))
    assert caught.value.stable_code == "bad_image"
    assert {detail.place for detail in caught.value.details} == bad.keys()
    assert "3 of 123 images" in caught.value.message


def test_a_single_huge_image_says_so(prepare: Prepare) -> None:
    with pytest.raises(BadArchive) as caught:
        prepare(zip_bytes({**dataset(5), "cat/huge.png": png_header(60_000, 60_000)}))
    assert caught.value.stable_code == "image_too_large"


def test_a_foreign_image_format_counts_as_unreadable(prepare: Prepare, tmp_path: Path) -> None:
    with pytest.raises(BadArchive) as caught:
        prepare(zip_bytes({**dataset(5), "cat/scan.tiff": encode(COLOUR, "TIFF")}))
    assert caught.value.details[0].place == "cat/scan.tiff"
