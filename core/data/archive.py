"""Open an uploaded zip, tar or tar.gz and read its files one at a time.

Nothing is ever extracted by name: members are judged by the directory parsers, then read as bytes.
A tar.gz is first unpacked to one plain file under a generated name, within the same limits.
"""

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from core.config import UploadLimits
from core.data import tar_directory, zip_directory
from core.data.members import DEFLATED, Member, check_expansion, refusal
from core.errors import BadArchive, Detail, TooLarge

_CHUNK = 1024**2
_GZIP = 31  # zlib's window bits for a gzip header and trailer
_KNOWN = {
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "Zstandard",
    b"7z\xbc\xaf": "7-Zip",
    b"Rar!": "RAR",
}


class Archive:
    """An open archive: its members in archive order, and their bytes on request."""

    def __init__(self, file: BinaryIO, members: tuple[Member, ...], ignored: int) -> None:
        self._file = file
        self.members = members
        self.ignored = ignored

    def read(self, member: Member) -> bytes:
        """The member's bytes, whole and checked. Raises BadArchive when they contradict it."""
        packed = os.pread(self._file.fileno(), member.packed_size, member.offset)
        if len(packed) != member.packed_size:
            raise _damaged(member, "corrupt_archive", "Its data is cut short.")
        data = _inflated(member, packed) if member.method == DEFLATED else packed
        if member.crc is not None and zlib.crc32(data) != member.crc:
            raise _damaged(member, "corrupt_archive", "Its data does not match its checksum.")
        return data

    def head(self, member: Member, length: int) -> bytes:
        """Up to `length` first bytes, unchecked: enough to tell what kind of file it is."""
        packed = os.pread(self._file.fileno(), min(member.packed_size, 4096), member.offset)
        if member.method != DEFLATED:
            return packed[:length]
        try:
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, length)
        except zlib.error:
            return b""


@contextmanager
def opened(path: Path, limits: UploadLimits, *, folder: Path) -> Iterator[Archive]:
    """Open the archive at `path`; `folder` is where a tar.gz may be unpacked meanwhile.

    Raises BadArchive, with every structural fault in its details, or TooLarge.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > limits.archive_bytes:
            raise TooLarge(
                f"The archive has {size:,} bytes; at most {limits.archive_bytes:,} are allowed.",
                code="archive_too_large",
            )
        head = os.pread(file.fileno(), 512, 0)
        if head[:2] == b"\x1f\x8b":
            with _unpacked(file, limits, folder / "archive.tar") as tar:
                yield _archive(tar, limits)
        else:
            yield _archive(file, limits)


def _archive(file: BinaryIO, limits: UploadLimits) -> Archive:
    head = os.pread(file.fileno(), 512, 0)
    if head[:4] in (b"PK\3\4", b"PK\5\6", b"PK\6\6"):
        listing = zip_directory.listing(file, limits)
    elif tar_directory.is_tar(head):
        listing = tar_directory.listing(file, limits)
    else:
        known = next((name for magic, name in _KNOWN.items() if head.startswith(magic)), None)
        raise BadArchive(
            f"{known} archives are not supported; upload a zip, tar or tar.gz."
            if known
            else "This is not a zip, tar or tar.gz archive.",
            code="unsupported_archive",
        )
    return Archive(file, listing.members, listing.ignored)


@contextmanager
def _unpacked(file: BinaryIO, limits: UploadLimits, target: Path) -> Iterator[BinaryIO]:
    try:
        with target.open("w+b") as tar:
            _gunzip(file, tar, limits)
            yield tar
    finally:
        target.unlink(missing_ok=True)


def _gunzip(file: BinaryIO, tar: BinaryIO, limits: UploadLimits) -> None:
    """Unpack one gzip member in bounded steps.

    The ratio is that of the bytes used so far, so a bomb stops as soon as it begins to swell.
    """
    unpacker, written = zlib.decompressobj(_GZIP), 0
    try:
        while not unpacker.eof:
            packed = unpacker.unconsumed_tail or file.read(_CHUNK)
            chunk = unpacker.decompress(packed, _CHUNK)
            if not packed and not chunk:
                raise _broken_gzip("it is cut short")
            written += len(chunk)
            check_expansion(written, file.tell() - len(unpacker.unconsumed_tail), limits)
            tar.write(chunk)
    except zlib.error:
        raise _broken_gzip("its data is not valid") from None
    rest = unpacker.unused_data
    while rest:
        if any(rest):
            raise _broken_gzip("something follows its end (only one gzip member is read)")
        rest = file.read(_CHUNK)
    tar.flush()


def _broken_gzip(why: str) -> BadArchive:
    return BadArchive(
        f"The gzip file is damaged or unusual: {why}. Make it again and upload it again.",
        code="corrupt_archive",
    )


def _inflated(member: Member, packed: bytes) -> bytes:
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = unpacker.decompress(packed, member.size + 1)
    except zlib.error:
        raise _damaged(member, "corrupt_archive", "Its data cannot be unpacked.") from None
    if len(data) > member.size:
        raise _damaged(member, "size_mismatch", "Its data is longer than the archive says.")
    if not unpacker.eof or unpacker.unused_data:
        raise _damaged(member, "corrupt_archive", "Its data is incomplete or too long.")
    if len(data) < member.size:
        raise _damaged(member, "size_mismatch", "Its data is shorter than the archive says.")
    return data


def _damaged(member: Member, code: str, why: str) -> BadArchive:
    return refusal([Detail(member.name, code, why)])
