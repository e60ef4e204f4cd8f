"""An image file's blocks counted before a decoder goes over them one by one, in Python.

Chunks, segments and extensions cost a few bytes each, and a decoder time and memory for each; it
bounds their sizes and not how many there are. Every check raises ValueError, for what no program
writes. What is merely damaged is left for the decoder to tell.
"""

import contextlib
import re
import struct
import zlib
from collections.abc import Callable, Mapping

from core.data import signatures

MOST_BLOCKS = 20_000  # with the data in them; no file that programs write comes near
MOST_ASIDE = 1_000  # beside the data
MOST_SCANS = (
    100  # of a JPEG: each may go over all its pixels again, and take a few bytes to say so
)
MOST_PROFILES = 4
MOST_HEADER = 16 * 1024**2  # bytes before the data or beside it, some of which are searched
MOST_GAPS = 1_000  # bytes between segments
_LEAST_OF_GIF = 100  # bytes in a block of data on average, of 255
_RLE_BYTES, _RLE_PIXELS = 2 * 1024**2, 2**22  # of a BMP, which is decoded code by code

_PNG_DATA = {b"IDAT", b"fdAT", b"fcTL"}
_WEBP_EXTRA = {b"EXIF", b"XMP ", b"ICCP"}
# All that is no fill byte, no restart, and not the beginning, none of which has a length.
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
_SCAN, _END = 0xDA, 0xD9
_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B
_RLE = {1, 2}


def check(kind: str, data: bytes) -> None:
    """Raise ValueError for a file of this kind that is made to cost its decoder dearly.

    (A TIFF's decoder looks at its one list of tags itself.)
    """
    if kind in _CHECKS:
        _CHECKS[kind](data)


def scans(data: bytes) -> int:
    """How often a JPEG goes over its pixels. Raises ValueError."""
    at, count, segments, gaps = 2, 0, 0, 0
    while (found := _MARKER.search(data, at)) and (kind := data[found.end() - 1]) != _END:
        segments += 1
        if not count:  # nothing but segments comes before the data
            gaps += found.start() - at
            _refuse_if(gaps > MOST_GAPS or found.start() > MOST_HEADER, "a header without end")
        count += kind == _SCAN
        _refuse_if(count > MOST_SCANS or segments > MOST_ASIDE, "needlessly many segments")
        at = found.end() + int.from_bytes(data[found.end() : found.end() + 2])
    return count


def _check_jpeg(data: bytes) -> None:
    scans(data)


def _check_png(data: bytes) -> None:
    """Every chunk must match its checksum, too: decoding looks at some only."""
    at, kind = len(signatures.PNG), b""
    blocks = aside = extra = profiles = 0
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        (checksum,) = struct.unpack_from(">I", data, end)
        _refuse_if(zlib.crc32(memoryview(data)[at + 4 : end]) != checksum, "a wrong checksum")
        blocks, profiles = blocks + 1, profiles + (kind == b"iCCP")
        if kind not in _PNG_DATA:
            aside, extra = aside + 1, extra + length
        _refuse_if(
            blocks > MOST_BLOCKS or aside > MOST_ASIDE or profiles > MOST_PROFILES,
            "needlessly many chunks",
        )
        _refuse_if(extra > MOST_HEADER, "metadata without end")
        at = end + 4


def _check_gif(data: bytes) -> None:
    """Up to the second image, which decoders look for to say whether there is one."""
    with contextlib.suppress(IndexError):  # it ends too soon
        at, blocks, aside, images = 13 + _gif_colours(data[10]), 0, 0, 0
        most = MOST_BLOCKS + len(data) // _LEAST_OF_GIF
        while images < 2 and (kind := data[at]) != _TRAILER:
            aside += kind != _IMAGE
            _refuse_if(aside > MOST_ASIDE, "needlessly many extensions")
            if kind == _IMAGE:
                images, at = images + 1, at + 11 + _gif_colours(data[at + 9])
            elif kind == _EXTENSION:
                at += 2
            else:
                at += 1
                continue
            while size := data[at]:
                at, blocks = at + 1 + size, blocks + 1
                _refuse_if(blocks > most, "needlessly many blocks")
            at += 1


def _gif_colours(flags: int) -> int:
    """Bytes of the table that these flags tell of."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _check_webp(data: bytes) -> None:
    at, blocks, extra = 12, 0, 0
    while at + 8 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, at)
        at, blocks = at + 8 + size + size % 2, blocks + 1
        extra += size if kind in _WEBP_EXTRA else 0
        _refuse_if(blocks > MOST_BLOCKS, "needlessly many chunks")
        _refuse_if(extra > MOST_HEADER, "metadata without end")


def _check_bmp(data: bytes) -> None:
    if len(data) < 34:
        return
    width, height, compression = (
        int.from_bytes(data[at : at + 4], "little", signed=True) for at in (18, 22, 30)
    )
    long = len(data) > _RLE_BYTES or abs(width * height) > _RLE_PIXELS
    _refuse_if(compression in _RLE and long, "run lengths, which take too long to decode")


def _refuse_if(wrong: bool, what: str) -> None:
    if wrong:
        raise ValueError(what)


_CHECKS: Mapping[str, Callable[[bytes], None]] = {
    "PNG": _check_png,
    "JPEG": _check_jpeg,
    "GIF": _check_gif,
    "WEBP": _check_webp,
    "BMP": _check_bmp,
}
