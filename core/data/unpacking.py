"""Unpack a compressed tar to one plain file, in bounded steps and within an upload's limits.

The ratio is that of the bytes used so far, so a bomb stops as soon as it begins to swell.
"""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from core.config import UploadLimits
from core.data.members import check_expansion
from core.errors import BadArchive

Unpacker = Callable[[Path, BinaryIO, UploadLimits], None]

_CHUNK = 1024**2
_GZIP = 31  # zlib's window bits for a gzip header and trailer


def unpacker_of(head: bytes) -> Unpacker | None:
    """What unpacks a file that begins with `head`, if it is compressed in a way that is read."""
    if head[:2] == b"\x1f\x8b":
        return gunzip
    # A frame, or one to be skipped, as parallel compressors put first.
    if head[:4] == b"\x28\xb5\x2f\xfd" or (head[1:4] == b"\x2a\x4d\x18" and head[0] >> 4 == 5):
        return unzstd
    return None


def gunzip(packed: Path, tar: BinaryIO, limits: UploadLimits) -> None:
    """Unpack one gzip member; only zeros may follow it. Raises BadArchive or TooLarge."""
    unpacker, written = zlib.decompressobj(_GZIP), 0
    with packed.open("rb") as file:
        try:
            while not unpacker.eof:
                data = unpacker.unconsumed_tail or file.read(_CHUNK)
                chunk = unpacker.decompress(data, _CHUNK)
                if not data and not chunk:
                    raise _broken("gzip", "it is cut short")
                written += len(chunk)
                check_expansion(written, file.tell() - len(unpacker.unconsumed_tail), limits)
                tar.write(chunk)
        except zlib.error:
            raise _broken("gzip", "its data is not valid") from None
        rest = unpacker.unused_data
        while rest:
            if rest != bytes(len(rest)):
                why = "something follows its end (only one gzip member is read)"
                raise _broken("gzip", why)
            rest = file.read(_CHUNK)
    tar.flush()


def unzstd(packed: Path, tar: BinaryIO, limits: UploadLimits) -> None:
    """Unpack Zstandard frames, one after another; nothing else may follow them.

    Several frames are one file cut up, as parallel and seekable compressors write it. A window of
    more than 128 MiB is refused by the decoder. Raises BadArchive or TooLarge.
    """
    import pyarrow as pa  # only here: it takes a while, and few uploads need it

    written = 0
    with packed.open("rb") as file, pa.CompressedInputStream(file, "zstd") as stream:
        while chunk := _unzstd_some(stream):
            written += len(chunk)
            check_expansion(written, file.tell(), limits)
            tar.write(chunk)
    tar.flush()


def _unzstd_some(stream: BinaryIO) -> bytes:
    try:
        return stream.read(_CHUNK)
    except OSError as error:
        if error.errno is not None:  # the disk's, not the decoder's
            raise
        why = "its data is not valid, or cut short, or something else follows it"
        if "memory" in str(error):
            why = "it needs a window of more than 128 MiB (leave out --long)"
        raise _broken("Zstandard", why) from None


def _broken(kind: str, why: str) -> BadArchive:
    return BadArchive(
        f"The {kind} file is damaged or unusual: {why}. Make it again and upload it again.",
        code="corrupt_archive",
    )
