"""The directory of a zip file, read strictly: what two readers could see differently is refused.

The standard library's reader (in the Python releases we support) accepts overlapping entries and
local headers that contradict the central directory, so the directory is parsed here.
"""

import os
import stat
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from core.config import UploadLimits
from core.data.members import DEFLATED, STORED, Listing, Register, too_many
from core.errors import BadArchive

_END = struct.Struct("<4sHHHHLLH")
_END64 = struct.Struct("<4sQHHLLQQQQ")
_LOCATOR64 = struct.Struct("<4sLQL")
_CENTRAL = struct.Struct("<4sHHHHHHLLLHHHHHLL")
_LOCAL = struct.Struct("<4sHHHHHLLLHH")
_MAX16, _MAX32 = 0xFFFF, 0xFFFFFFFF
_ENCRYPTED, _DESCRIPTOR, _UNICODE = 0x2041, 0x8, 0x800
# Names and extra fields of ordinary archives stay far below this many bytes an entry.
_CENTRAL_BYTES_PER_ENTRY = 512
_EXTRA_FIELDS = 32  # of one entry; writers use five at most
_METHOD_NAMES = {9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "XZ", 98: "PPMd"}


class _Entry(NamedTuple):
    """One central directory entry, zip64 resolved."""

    raw_name: bytes
    flags: int
    method: int
    crc: int
    packed_size: int
    size: int
    mode: int
    offset: int

    @property
    def name(self) -> str:
        """UTF-8 when it is that (most tools forget the flag), else the format's old code page."""
        try:
            return self.raw_name.decode("utf-8")
        except UnicodeDecodeError:
            if self.flags & _UNICODE:
                return self.raw_name.decode("utf-8", "surrogateescape")
            return self.raw_name.decode("cp437")


def listing(file: BinaryIO, limits: UploadLimits) -> Listing:
    """The regular files of a zip. Raises BadArchive with all grave faults, TooLarge at a limit."""
    size = os.fstat(file.fileno()).st_size
    count, central_size, central_offset = _find_directory(file, size)
    if count > limits.entries or central_size > limits.entries * _CENTRAL_BYTES_PER_ENTRY:
        raise too_many(limits)
    register = Register(limits, size)
    ranges: list[tuple[int, int, bytes]] = []
    central = os.pread(file.fileno(), central_size, central_offset)
    for entry in _central_entries(central, count):
        register.count()
        _judge(file, entry, register, ranges, central_offset)
    _check_overlaps(ranges, register)
    return register.close()


def _corrupt(why: str) -> BadArchive:
    return BadArchive(
        f"The zip file is damaged or incomplete: {why}. Make it again and upload it again.",
        code="corrupt_archive",
    )


def _find_directory(file: BinaryIO, size: int) -> tuple[int, int, int]:
    """Entry count, size and offset of the central directory, which must end at its end record."""
    tail_offset = max(0, size - _END.size - _MAX16)
    tail = os.pread(file.fileno(), size - tail_offset, tail_offset)
    found = tail.rfind(b"PK\5\6")
    while found >= 0 and not _ends_here(tail, found):
        found = tail.rfind(b"PK\5\6", 0, found)
    if found < 0:
        raise _corrupt("its end record is missing or does not end the file")
    _, disk, start_disk, here, count, length, offset, _ = _END.unpack_from(tail, found)
    end = tail_offset + found
    if _MAX16 in (here, count) or _MAX32 in (length, offset):
        end, disk, start_disk, here, count, length, offset = _zip64_end(file, end)
    if disk or start_disk or here != count:
        raise BadArchive(
            "The zip file is split over several parts; join them into one.",
            code="unsupported_archive",
        )
    if offset + length != end:
        raise _corrupt("its directory is not where its end record says")
    return count, length, offset


def _ends_here(tail: bytes, found: int) -> bool:
    if found + _END.size > len(tail):
        return False
    comment: int = _END.unpack_from(tail, found)[-1]
    return found + _END.size + comment == len(tail)


def _zip64_end(file: BinaryIO, end: int) -> tuple[int, int, int, int, int, int, int]:
    locator = _read(file, end - _LOCATOR64.size, _LOCATOR64.size)
    signature, _, at, _ = _LOCATOR64.unpack(locator)
    if signature != b"PK\6\7":
        raise _corrupt("its 64-bit locator is missing")
    record = _END64.unpack(_read(file, at, _END64.size))
    if record[0] != b"PK\6\6" or at + 12 + record[1] + _LOCATOR64.size != end:
        raise _corrupt("its 64-bit end record is wrong")
    return (at, *record[4:])


def _read(file: BinaryIO, offset: int, length: int) -> bytes:
    data = os.pread(file.fileno(), length, offset) if 0 <= offset < 2**63 else b""
    if len(data) != length:
        raise _corrupt("it points outside itself")
    return data


def _central_entries(central: bytes, count: int) -> Iterator[_Entry]:
    at = 0
    for _ in range(count):
        if at + _CENTRAL.size > len(central):
            raise _corrupt("its directory is cut short")
        fields = _CENTRAL.unpack_from(central, at)
        name_end = at + _CENTRAL.size + fields[10]
        extra_end = name_end + fields[11]
        if fields[0] != b"PK\1\2" or extra_end + fields[12] > len(central):
            raise _corrupt("its directory has a broken entry")
        extra = central[name_end:extra_end]
        size, packed_size, offset = _resolve64(extra, fields[9], fields[8], fields[16])
        raw_name = central[at + _CENTRAL.size : name_end]
        mode = fields[15] >> 16
        yield _Entry(raw_name, fields[3], fields[4], fields[7], packed_size, size, mode, offset)
        at = extra_end + fields[12]
    if at != len(central):
        raise _corrupt("its directory holds more than its end record counts")


def _resolve64(extra: bytes, *values: int) -> tuple[int, ...]:
    """Replace each 32-bit placeholder by the next number of the zip64 extra field."""
    if _MAX32 not in values:
        return values
    wide = _extra_field(extra, 0x0001)
    at, resolved = 0, []
    for value in values:
        if value == _MAX32:
            if at + 8 > len(wide):
                raise _corrupt("a 64-bit size is missing")
            resolved.append(int.from_bytes(wide[at : at + 8], "little"))
            at += 8
        else:
            resolved.append(value)
    return tuple(resolved)


def _extra_field(extra: bytes, wanted: int) -> bytes:
    at = 0
    for _ in range(_EXTRA_FIELDS):
        if at + 4 > len(extra):
            return b""
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == wanted:
            return extra[at + 4 : at + 4 + length]
        at += 4 + length
    raise _corrupt("an entry has more extra fields than any zip program writes")


def _judge(
    file: BinaryIO,
    entry: _Entry,
    register: Register,
    ranges: list[tuple[int, int, bytes]],
    central_offset: int,
) -> None:
    name = entry.name
    data_offset = _check_local(file, entry, register)
    if data_offset is None:
        return
    end = data_offset + entry.packed_size
    ranges.append((entry.offset, end, entry.raw_name))
    if end > central_offset:
        register.fault(name, "archive_overlap", "Its data runs into the archive's directory.")
        return
    kind = stat.S_IFMT(entry.mode)
    if name.endswith("/") or kind == stat.S_IFDIR:
        register.check_directory(name)
        if entry.size:  # some writers "compress" a folder to two bytes
            register.fault(name, "corrupt_archive", "A folder cannot contain bytes.")
        return
    register.measure(name, entry.size, entry.packed_size)
    if kind not in (0, stat.S_IFREG):
        register.fault(name, "unsafe_member", "Only plain files are allowed, no links or devices.")
    elif _readable(entry, register) and register.regular(name, entry.mode):
        register.add(
            name,
            size=entry.size,
            offset=data_offset,
            packed_size=entry.packed_size,
            method=entry.method,
            crc=entry.crc,
        )


def _readable(entry: _Entry, register: Register) -> bool:
    """Whether the data can be unpacked here at all (a fault if not)."""
    if entry.flags & _ENCRYPTED:
        register.fault(
            entry.name, "unsupported_archive", "The file is encrypted; zip it without a password."
        )
    elif entry.method not in (STORED, DEFLATED):
        method = _METHOD_NAMES.get(entry.method, f"number {entry.method}")
        register.fault(
            entry.name,
            "unsupported_archive",
            f"Compression method {method} is not supported; use ordinary zip (Deflate).",
        )
    elif entry.method == STORED and entry.size != entry.packed_size:
        register.fault(entry.name, "size_mismatch", "Its stored size contradicts its real size.")
    elif entry.packed_size > entry.size + entry.size // 1000 + 65536:
        register.fault(entry.name, "size_mismatch", "Its data is far longer than its size allows.")
    else:
        return True
    return False


def _check_local(file: BinaryIO, entry: _Entry, register: Register) -> int | None:
    """Where the entry's data begins, if its local header agrees with the directory."""
    wanted = _LOCAL.size + len(entry.raw_name)
    header = os.pread(file.fileno(), wanted, entry.offset) if entry.offset < 2**63 else b""
    if len(header) != wanted or header[:4] != b"PK\3\4":
        register.fault(entry.name, "corrupt_archive", "Its data is missing from the archive.")
        return None
    _, _, flags, method, _, _, crc, packed_size, size, name_length, extra_length = (
        _LOCAL.unpack_from(header)
    )
    if name_length != len(entry.raw_name) or header[_LOCAL.size :] != entry.raw_name:
        register.fault(entry.name, "corrupt_archive", "The archive gives this file two names.")
        return None
    if method != entry.method or (flags ^ entry.flags) & (_ENCRYPTED | _DESCRIPTOR):
        register.fault(entry.name, "corrupt_archive", "Its two headers contradict each other.")
        return None
    data_offset: int = entry.offset + wanted + extra_length
    if not flags & _DESCRIPTOR:
        if _MAX32 in (size, packed_size):
            extra = os.pread(file.fileno(), extra_length, entry.offset + wanted)
            size, packed_size = _resolve64(extra, size, packed_size)
        if (size, packed_size) != (entry.size, entry.packed_size):
            register.fault(entry.name, "size_mismatch", "Its two headers give different sizes.")
            return None
        if crc != entry.crc:
            register.fault(entry.name, "corrupt_archive", "Its two headers differ in checksum.")
            return None
    return data_offset


def _check_overlaps(ranges: list[tuple[int, int, bytes]], register: Register) -> None:
    reached = 0
    for start, end, raw_name in sorted(ranges):
        if start < reached:
            name = raw_name.decode("utf-8", "replace")
            register.fault(name, "archive_overlap", "It shares its bytes with another file.")
        reached = max(reached, end)
