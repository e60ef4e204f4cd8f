"""The directory of a tar file: plain files by name and place, everything else refused.

Read here and not by the standard library because its extended-header parsing is unbounded in time
and memory (and its extraction filters have been escaped more than once); we need names and places.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from core.config import UploadLimits
from core.data.members import Listing, Register
from core.errors import TooLarge

_BLOCK = 512
_EXTENDED_BYTES = 1024**2
# Room in all extended headers together for a long name and a Mac's attributes of every entry.
_EXTENDED_BYTES_PER_ENTRY, _RECORDS_PER_ENTRY = 1024, 16
_REGULAR, _DIRECTORY, _NO_DATA = b"0\07", b"5", b"123456"
_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL = b"L", b"K", b"x", b"g"
_UNSAFE = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a device",
    b"4": "a device",
    b"6": "a FIFO",
    b"S": "a sparse file",
}


class _Damaged(Exception):
    """The directory cannot be followed any further; the text says why."""


@dataclass(slots=True)
class _Pending:
    """What extended headers said about the next entry."""

    name: bytes | None = None
    size: int | None = None
    sparse: bool = False


@dataclass(slots=True)
class _Allowance:
    """What all extended headers of an archive together may still take."""

    size: int
    records: int

    def spend(self, *, size: int = 0, records: int = 0) -> None:
        """Raises TooLarge when it is used up."""
        self.size -= size
        self.records -= records
        if min(self.size, self.records) < 0:
            raise TooLarge(
                "The tar file's extended headers take far more than names and dates need; make it "
                "again without extended attributes.",
                code="archive_too_large",
            )


@dataclass(frozen=True, slots=True)
class _Header:
    name: bytes
    mode: int
    size: int
    kind: bytes


def is_tar(block: bytes) -> bool:
    """Whether a file that begins with `block` is a tar, by the checksum of its first header."""
    return len(block) >= _BLOCK and (not any(block[:_BLOCK]) or _checksum_holds(block[:_BLOCK]))


def listing(file: BinaryIO, limits: UploadLimits) -> Listing:
    """The regular files of a tar. Raises BadArchive with all grave faults, TooLarge at a limit."""
    size = os.fstat(file.fileno()).st_size
    register = Register(limits, size)
    entries = limits.entries
    allowance = _Allowance(entries * _EXTENDED_BYTES_PER_ENTRY, entries * _RECORDS_PER_ENTRY)
    try:
        _walk(file, size, register, allowance)
    except _Damaged as error:
        register.fault(
            "",
            "corrupt_archive",
            f"The tar file is damaged or incomplete: {error}. Make it again and upload it again.",
        )
    return register.close()


def _walk(file: BinaryIO, end: int, register: Register, allowance: _Allowance) -> None:
    at, pending = 0, _Pending()
    while True:
        block = os.pread(file.fileno(), _BLOCK, at)
        if len(block) < _BLOCK:
            raise _Damaged("its end mark is missing")
        if not any(block):
            _check_rest(file, at)
            return
        register.count()
        header = _parse(block)
        at += _BLOCK
        # A pax size describes the file, never the extended header before it.
        size = pending.size if pending.size is not None else header.size
        if header.kind in _LONG_NAME + _LONG_LINK + _PAX + _PAX_GLOBAL:
            size = header.size
            allowance.spend(size=size)
            _extend(pending, header.kind, _extended(file, at, size), allowance)
        else:
            _take(header, pending, size, at, register)
            pending = _Pending()
        at += 0 if header.kind in _NO_DATA else -(-size // _BLOCK) * _BLOCK
        if at > end:
            raise _Damaged("its last file is cut short")


def _take(header: _Header, pending: _Pending, size: int, at: int, register: Register) -> None:
    raw_name = pending.name if pending.name is not None else header.name
    name = raw_name.decode("utf-8", "surrogateescape")
    if header.kind == _DIRECTORY or (header.kind in _REGULAR and name.endswith("/")):
        register.check_directory(name)
        return
    if header.kind not in _REGULAR or pending.sparse:
        what = "a sparse file" if pending.sparse else _UNSAFE.get(header.kind, "of unknown kind")
        register.fault(name, "unsafe_member", f"It is {what}; only plain files are allowed.")
        return
    register.measure(name, size, size)
    if register.regular(name, header.mode):
        register.add(name, size=size, offset=at, packed_size=size)


def _extended(file: BinaryIO, at: int, size: int) -> bytes:
    if size > _EXTENDED_BYTES:
        raise _Damaged("an extended header is longer than a mebibyte")
    data = os.pread(file.fileno(), size, at)
    if len(data) < size:
        raise _Damaged("an extended header is cut short")
    return data


def _extend(pending: _Pending, kind: bytes, data: bytes, allowance: _Allowance) -> None:
    if kind == _LONG_NAME:
        pending.name = data.rstrip(b"\0")
    elif kind in _PAX + _PAX_GLOBAL:
        for key, value in _pax_records(data):
            allowance.spend(records=1)
            if kind == _PAX_GLOBAL:
                _check_global(key)
            elif key == b"path":
                pending.name = value
            elif key == b"size":
                pending.size = _decimal(value)
            elif key.startswith(b"GNU.sparse"):
                pending.sparse = True


def _check_global(key: bytes) -> None:
    # It would hold for every file that follows. Readers differ in that, and nobody writes it.
    if key in (b"path", b"size") or key.startswith(b"GNU.sparse"):
        raise _Damaged("a global header names or measures files")


def _pax_records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The `length key=value` lines of a pax header."""
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 8)
        length = _decimal(data[at:space]) if space > 0 else 0
        record = data[space + 1 : at + length]
        if length <= space + 1 - at or at + length > len(data) or not record.endswith(b"\n"):
            raise _Damaged("an extended header is malformed")
        key, separator, value = record[:-1].partition(b"=")
        if not separator:
            raise _Damaged("an extended header is malformed")
        yield key, value
        at += length


def _decimal(digits: bytes) -> int:
    if not digits.isdigit() or len(digits) > 20:
        raise _Damaged("an extended header holds a number that is not one")
    return int(digits)


def _parse(block: bytes) -> _Header:
    if not _checksum_holds(block):
        raise _Damaged("a header does not match its checksum")
    name = block[:100].split(b"\0", 1)[0]
    prefix = block[345:500].split(b"\0", 1)[0]
    if block[257:263] == b"ustar\0" and prefix:
        name = prefix + b"/" + name
    return _Header(name, _number(block[100:108]), _number(block[124:136]), block[156:157])


def _checksum_holds(block: bytes) -> bool:
    try:
        stated = _number(block[148:156])
    except _Damaged:
        return False
    return stated == sum(block[:148]) + 8 * ord(" ") + sum(block[156:])


def _number(field: bytes) -> int:
    """An octal field, or GNU's base-256 one (first bit set), which may not be negative."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.split(b"\0", 1)[0].strip()
    try:
        value = int(digits or b"0", 8)
    except ValueError:
        raise _Damaged("a header holds a number that is not one") from None
    if value < 0:
        raise _Damaged("a header holds a negative number")
    return value


def _check_rest(file: BinaryIO, at: int) -> None:
    while chunk := os.pread(file.fileno(), 1024**2, at):
        if chunk != bytes(len(chunk)):
            raise _Damaged("something follows its end mark")
        at += len(chunk)
