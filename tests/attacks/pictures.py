"""Hostile images, by row of the attack table."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

from tests.unit.data.builders import encode, noise, zip_bytes

COLOUR = noise(1, (12, 10, 3))
GREY = noise(2, (12, 10))
SCRIPT = b"<html><script>alert(1)</script></html>"
ZIP = zip_bytes({"Main.class": b"\xca\xfe\xba\xbe", "META-INF/MANIFEST.MF": b"Main-Class: Main"})
POLYGLOTS = {
    "gifar": encode(GREY, "GIF") + ZIP,
    "png and zip": encode(GREY) + ZIP,
    "png and html": encode(GREY) + SCRIPT,
    "gif and html": encode(GREY, "GIF") + SCRIPT,
    "bmp and html": encode(GREY, "BMP") + SCRIPT,
    "two pngs": encode(GREY) + encode(noise(3)),
}


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))


def png_header(width: int, height: int, *chunks: bytes) -> bytes:
    ihdr = chunk(b"IHDR", struct.pack(">LLBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + ihdr + b"".join(chunks) + chunk(b"IEND", b"")


def corrupted_pixels() -> bytes:
    data = bytearray(encode(noise(3, (64, 64))))
    at = data.index(b"IDAT") + 60
    data[at] ^= 0xFF
    return bytes(data)


def gif_with_canvas(side: int) -> bytes:
    data = encode(noise(3), "GIF")
    return data[:6] + struct.pack("<HH", side, side) + data[10:]


JPEG = encode(noise(2, (64, 64, 3)), "JPEG")
BAD = {
    "19 huge header": (png_header(60_000, 60_000), "image_too_large"),
    "19 just too many": (saved(Image.new("1", (8_000, 6_251))), "image_too_large"),
    "19 gif canvas": (gif_with_canvas(65_535), "image_too_large"),
    "20 text bomb": (
        png_header(8, 8, chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(100 * 2**20), 1))),
        "bad_image",
    ),
    "21 truncated jpeg": (JPEG[: len(JPEG) // 2], "bad_image"),
    "21 empty": (b"", "bad_image"),
    "21 text": (b"I am a text file", "bad_image"),
    "21 truncated png": (encode(COLOUR)[:-40], "bad_image"),
    "21 flipped pixels": (corrupted_pixels(), "bad_image"),
    "22 tiff": (encode(COLOUR, "TIFF"), "bad_image"),
    "22 icns": (saved(Image.new("RGB", (16, 16)), "ICNS"), "bad_image"),
    "22 pdf": (encode(COLOUR, "PDF"), "bad_image"),
    "22 eps": (encode(COLOUR, "EPS"), "bad_image"),
    "22 psd": (b"8BPS\0\1" + bytes(100), "bad_image"),
    "22 fits": (b"SIMPLE  =                    T" + bytes(2850), "bad_image"),
    "22 ppm": (encode(COLOUR, "PPM"), "bad_image"),
    "23 svg": (b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>", "bad_image"),
    "23 html": (b"<html>" + encode(COLOUR), "bad_image"),
    "24 no pixels": (png_header(0, 8), "bad_image"),
    "24 signature only": (b"\x89PNG\r\n\x1a\n", "bad_image"),
    "24 riff only": (b"RIFF\0\0\0\0WEBP", "bad_image"),
    "24 bmp only": (b"BM", "bad_image"),
}


def animated_gif(frames: int) -> bytes:
    """One frame many times over."""
    data = encode(GREY, "GIF")
    start = 13 + 3 * 2 ** ((data[10] & 7) + 1)
    assert data[-1:] == b";"
    return data[:start] + data[start:-1] * frames + b";"


def text_bomb(kind: bytes, head: bytes) -> bytes:
    """A PNG with a chunk that unpacks to 100 MiB."""
    return png_header(8, 8, chunk(kind, head + zlib.compress(bytes(100 * 2**20), 1)))


def many_scans(side: int, scans: int) -> bytes:
    """A progressive JPEG whose second scan comes again and again: bytes each, milliseconds each.

    "Two issues with the JPEG standard" (libjpeg-turbo, 2015), LJT-01-005.
    """
    data = saved(Image.new("L", (side, side), 90), "JPEG", progressive=True)
    starts = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xda"]
    return data[: starts[2]] + data[starts[1] : starts[2]] * scans + data[starts[2] :]


def blocks(side: int, channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    """Coloured squares: many pixels in few bytes."""
    shape = (side // 100, side // 100, *((channels,) if channels > 1 else ()))
    small = np.random.default_rng(3).integers(0, np.iinfo(dtype).max, shape, dtype=dtype)
    return small.repeat(100, 0).repeat(100, 1)


def endless_exif() -> bytes:
    """EXIF whose directory points at itself, thousands of times."""
    entries = b"".join(struct.pack("<HHLL", 0x8769, 4, 1, 8) for _ in range(5_000))
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 5_000) + entries + bytes(4)
    return JPEG[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + JPEG[2:]


def before_data(kind: str, block: bytes, count: int) -> bytes:
    """An image with so many blocks where its data is about to begin."""
    data = encode(COLOUR if kind != "GIF" else GREY, kind)
    at = {"PNG": 33, "JPEG": 2, "GIF": 13 + 3 * 2 ** ((data[10] & 7) + 1)}[kind]
    return data[:at] + block * count + data[at:]


def webp_of_chunks(count: int) -> bytes:
    """A WebP followed by chunks that nobody knows."""
    data = encode(COLOUR, "WEBP", lossless=True)
    extended = b"VP8X" + struct.pack("<L4xHxHx", 10, 9, 11)  # width and height, less one
    body = b"WEBP" + extended + data[12:] + b"abcd\0\0\0\0" * count
    return b"RIFF" + struct.pack("<L", len(body)) + body


def bmp_of_runs(side: int) -> bytes:
    """A BMP in run lengths, each run of one pixel."""
    body, start = (b"\1\7" * side + b"\0\0") * side, 14 + 40 + 1024
    head = struct.pack("<LllHHLLllLL", 40, side, side, 1, 8, 1, len(body), 0, 0, 256, 0)
    palette = bytes(1024)
    return struct.pack("<2sLHHL", b"BM", start + len(body), 0, 0, start) + head + palette + body


BLOCK_BYTES = 36 * 2**20
SIDE = 7_000  # 49 million pixels, of 50 that one image may have if it takes few bytes for each
# What each is told for, or that it is a good image; made when asked for, for they are large.
LARGE: dict[str, tuple[Callable[[], bytes], str]] = {
    "19 49 Mpx, RGB": (lambda: encode(blocks(SIDE), compress_level=1), "image_too_large"),
    "19 49 Mpx, RGBA": (lambda: encode(blocks(SIDE, 4), compress_level=1), "image_too_large"),
    "19 49 Mpx, 16 bits": (
        lambda: encode(blocks(SIDE, 1, np.uint16), compress_level=1), "accepted"
    ),
    "19 49 Mpx, GIF": (lambda: encode(blocks(SIDE, 1), "GIF"), "accepted"),
    "19 49 Mpx, WebP": (
        lambda: encode(blocks(SIDE), "WEBP", lossless=True, quality=0, method=0), "image_too_large"
    ),
    "19 49 Mpx, JPEG": (lambda: encode(blocks(SIDE), "JPEG"), "accepted"),
    "19 49 Mpx, progressive": (
        lambda: encode(blocks(SIDE), "JPEG", progressive=True, subsampling=0), "image_too_large"
    ),
    "19 39 Mpx, RGB": (lambda: encode(blocks(6_200), compress_level=1), "accepted"),
    "19 39 Mpx, RGBA": (lambda: encode(blocks(6_200, 4), compress_level=1), "accepted"),
    "19 9 Mpx, WebP": (
        lambda: encode(blocks(3_000), "WEBP", lossless=True, quality=0, method=0), "accepted"
    ),
    "19 26 Mpx, progressive": (
        lambda: encode(blocks(5_000), "JPEG", progressive=True, subsampling=0), "accepted"
    ),
    "19 64 MiB of noise": (
        lambda: encode(noise(1, (4_700, 4_700, 3)), compress_level=0), "image_too_large"
    ),
    "19 37 MiB of noise": (
        lambda: encode(noise(1, (3_600, 3_600, 3)), compress_level=0), "accepted"
    ),
    "20 iTXt": (lambda: text_bomb(b"iTXt", b"k\0\1\0\0\0"), "bad_image"),
    "24 many scans": (lambda: many_scans(SIDE, 5_000), "bad_image"),
    "24 empty chunks": (
        lambda: before_data("PNG", chunk(b"teSt", b""), BLOCK_BYTES // 12), "bad_image"
    ),
    "24 empty data": (
        lambda: before_data("PNG", chunk(b"IDAT", b""), BLOCK_BYTES // 12), "bad_image"
    ),
    "24 profiles": (
        lambda: before_data(
            "PNG", chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(2**20 - 1))), 900
        ), "bad_image",
    ),
    "24 empty segments": (
        lambda: before_data("JPEG", b"\xff\xe3\0\2", BLOCK_BYTES // 4), "bad_image"
    ),
    "24 fill bytes": (lambda: before_data("JPEG", b"\xff", BLOCK_BYTES), "bad_image"),
    "24 comments": (
        lambda: before_data("GIF", b"\x21\xfe\1x\0", BLOCK_BYTES // 5), "bad_image"
    ),
    "24 zeros in a GIF": (lambda: before_data("GIF", b"\0", BLOCK_BYTES), "bad_image"),
    "24 unknown chunks": (lambda: webp_of_chunks(BLOCK_BYTES // 8), "bad_image"),
    "24 runs of one pixel": (lambda: bmp_of_runs(4_200), "bad_image"),
    "25 XMP of 30 MiB": (
        lambda: before_data(
            "PNG", chunk(b"iTXt", b"XML:com.adobe.xmp".ljust(22, b"\0") + bytes(30 * 2**20)), 1
        ), "bad_image",
    ),
    "24 1 x 65535": (lambda: encode(noise(1, (65_535, 1))), "accepted"),
    "24 65535 x 1": (lambda: encode(noise(1, (1, 65_535))), "accepted"),
    "25 EXIF in circles": (endless_exif, "accepted"),
}  # fmt: skip
