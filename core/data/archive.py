"""Open an uploaded zip, tar, tar.gz or tar.zst and read its files one at a time.

Nothing is ever extracted by name: members are judged by the directory parsers, then read as bytes.
A compressed tar is first unpacked to one plain file under a generated name, within the limits.
"""

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from core.config import UploadLimits
from core.data import tar_directory, zip_directory
from core.data.members import DEFLATED, Listing, Member, refusal
from core.data.unpacking import Unpacker, unpacker_of
from core.errors import BadArchive, Detail, TooLarge

_CHUNK = 1024**2
_KNOWN = {
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"7z\xbc\xaf": "7-Zip",
    b"Rar!": "RAR",
}


class Archive:
    """An open archive: its members in archive order, and their bytes on request.

    `faults` (`faults_found` in all) are reasons to refuse it that its directory gives; `empty` are
    folders with nothing in them.
    """

    def __init__(self, file: BinaryIO, listing: Listing) -> None:
        self._file = file
        self.members = listing.members
        self.ignored = listing.ignored
        self.faults = listing.faults
        self.faults_found = listing.faults_found
        self.empty = listing.empty

    def read(self, member: Member) -> bytes:
        """The member's bytes, whole and checked. Raises BadArchive when they contradict it."""
        if member.method == DEFLATED:
            file = BytesIO()
            self.copy(member, file)
            return file.getvalue()
        data = os.pread(self._file.fileno(), member.packed_size, member.offset)
        _check(member, len(data), zlib.crc32(data))
        return data

    def copy(self, member: Member, target: BinaryIO) -> None:
        """Write the member's bytes to a file: as `read`, in little memory whatever its size."""
        crc = written = 0
        for chunk in self._inflated(member) if member.method == DEFLATED else self._stored(member):
            crc = zlib.crc32(chunk, crc)
            written += len(chunk)
            target.write(chunk)
        _check(member, written, crc)

    def head(self, member: Member, length: int) -> bytes:
        """Up to `length` first bytes, unchecked: enough to tell what kind of file it is."""
        packed = os.pread(self._file.fileno(), min(member.packed_size, 4096), member.offset)
        if member.method != DEFLATED:
            return packed[:length]
        try:
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, length)
        except zlib.error:
            return b""

    def _stored(self, member: Member) -> Iterator[bytes]:
        at, end = member.offset, member.offset + member.packed_size
        while chunk := os.pread(self._file.fileno(), min(_CHUNK, end - at), at):
            at += len(chunk)
            yield chunk

    def _inflated(self, member: Member) -> Iterator[bytes]:
        """Unpacked in steps, so that little more than the file itself is held."""
        unpacker, written = zlib.decompressobj(-zlib.MAX_WBITS), 0
        at, end = member.offset, member.offset + member.packed_size
        try:
            while not unpacker.eof:
                packed = unpacker.unconsumed_tail
                if not packed:
                    packed = os.pread(self._file.fileno(), min(_CHUNK, end - at), at)
                    at += len(packed)
                chunk = unpacker.decompress(packed, _CHUNK)
                if not packed and not chunk:
                    break
                written += len(chunk)
                if written > member.size:
                    why = "Its data is longer than the archive says."
                    raise _damaged(member, "size_mismatch", why)
                yield chunk
        except zlib.error:
            raise _damaged(member, "corrupt_archive", "Its data cannot be unpacked.") from None
        if not unpacker.eof or unpacker.unused_data or at < end:
            raise _damaged(member, "corrupt_archive", "Its data is incomplete or too long.")
        if written < member.size:
            raise _damaged(member, "size_mismatch", "Its data is shorter than the archive says.")


@contextmanager
def opened(
    path: Path, limits: UploadLimits, *, folder: Path, strict: bool = True
) -> Iterator[Archive]:
    """Open the archive at `path`; `folder` is where a compressed tar may be unpacked meanwhile.

    Raises BadArchive, with every fault that the directory shows, or TooLarge. Unless `strict`,
    faults that leave the other files as good as they were (odd or doubled names, encrypted files,
    archives inside) do not raise: they are the archive's `faults`, for the caller to refuse it.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > limits.archive_bytes:
            raise TooLarge(
                f"The archive has {size:,} bytes; at most {limits.archive_bytes:,} are allowed.",
                code="archive_too_large",
            )
        unpack = unpacker_of(os.pread(file.fileno(), 4, 0))
        if unpack is None:
            yield _archive(file, limits, strict)
        else:
            with _unpacked(path, unpack, limits, folder / "archive.tar") as tar:
                yield _archive(tar, limits, strict)


def _archive(file: BinaryIO, limits: UploadLimits, strict: bool) -> Archive:
    head = os.pread(file.fileno(), 512, 0)
    if head[:4] in (b"PK\3\4", b"PK\5\6", b"PK\6\6"):
        listing = zip_directory.listing(file, limits)
    elif tar_directory.is_tar(head):
        listing = tar_directory.listing(file, limits)
    else:
        known = next((name for magic, name in _KNOWN.items() if head.startswith(magic)), None)
        raise BadArchive(
            f"{known} archives are not supported; upload a zip, tar, tar.gz or tar.zst."
            if known
            else "This is not a zip, tar, tar.gz or tar.zst archive.",
            code="unsupported_archive",
        )
    if strict and listing.faults:
        raise refusal(listing.faults, total=listing.faults_found)
    return Archive(file, listing)


@contextmanager
def _unpacked(
    path: Path, unpack: Unpacker, limits: UploadLimits, target: Path
) -> Iterator[BinaryIO]:
    try:
        with target.open("w+b") as tar:
            unpack(path, tar, limits)
            yield tar
    finally:
        target.unlink(missing_ok=True)


def _check(member: Member, size: int, crc: int) -> None:
    """Whether what was read is what the directory says. Raises BadArchive."""
    if size < member.size:
        raise _damaged(member, "corrupt_archive", "Its data is cut short.")
    if member.crc is not None and crc != member.crc:
        raise _damaged(member, "corrupt_archive", "Its data does not match its checksum.")


def _damaged(member: Member, code: str, why: str) -> BadArchive:
    return refusal([Detail(member.name, code, why)])
