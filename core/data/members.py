"""What an archive's directory may say: every entry is judged here before a byte of it is read."""

import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from core.config import UploadLimits
from core.data import names
from core.errors import BadArchive, Detail, TooLarge

STORED, DEFLATED = 0, 8
# Tiny files made of one colour compress without bound and harm nobody: ratios count above these.
TABLE_SUFFIX = ".parquet"  # a file of many images, never held in memory
ENTRY_RATIO_FLOOR = 1024**2
ARCHIVE_RATIO_FLOOR = 16 * 1024**2
# What a name may weigh in memory, on average, and more than Windows allows a path: every layer of
# intake holds and looks at each of them again.
_NAME_BYTES_PER_ENTRY = 320
# What makes everything else in an archive doubtful: it is refused for these unread.
_GRAVE = {"unsafe_path", "unsafe_member", "archive_overlap", "corrupt_archive", "size_mismatch"}
_DETAILS = 1_000
_ARCHIVE_SUFFIXES = (
    ".zip", ".tar", ".gz", ".tgz", ".bz2", ".tbz", ".xz", ".txz", ".zst", ".tzst",
    ".7z", ".rar", ".jar",
)  # fmt: skip
_SETUID_SETGID = 0o6000


class Member(NamedTuple):
    """One regular file of an archive: its name (NFC, as data) and where its bytes lie."""

    name: str
    size: int
    offset: int
    packed_size: int
    method: int = STORED
    crc: int | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        """Its folders and the file itself."""
        return tuple(self.name.split("/"))


@dataclass(frozen=True, slots=True)
class Listing:
    """The files worth looking at, and how many of an operating system's own were passed over.

    `faults` refuse the archive, and leave it to the reader what else to look for before it does;
    there are `faults_found`, of which the first are kept (a last line says how many are not).
    `empty` are folders with nothing in them.
    """

    members: tuple[Member, ...]
    ignored: int
    faults: tuple[Detail, ...] = ()
    faults_found: int = 0
    empty: tuple[str, ...] = ()


def refusal(details: Sequence[Detail], *, total: int | None = None) -> BadArchive:
    """One error for everything found wrong; its code is that of the first finding."""
    first, count = details[0], total or len(details)
    where = f"{first.place}: " if first.place else ""
    more = f" (and {count - 1} more problems, listed)" if count > 1 else ""
    return BadArchive(f"{where}{first.message}{more}", code=first.code, details=details)


class Register:
    """Takes the entries of one archive, stops at limits, and collects everything else wrong."""

    def __init__(self, limits: UploadLimits, archive_bytes: int) -> None:
        self._limits = limits
        self._archive_bytes = archive_bytes
        self._directories: set[tuple[str, ...]] = set()
        self._members: list[Member] = []
        self._grave, self._faults = _Findings(), _Findings()
        self._ignored = 0
        self._entries = 0
        self._expanded = 0
        self._name_bytes = 0
        self._taken = names.Taken()

    def fault(self, place: str, code: str, message: str) -> None:
        """Note a reason to refuse the archive and go on looking for others."""
        (self._grave if code in _GRAVE else self._faults).add(place, code, message)

    def count(self) -> None:
        """Count one entry of any kind. Raises TooLarge past the limit."""
        self._entries += 1
        if self._entries > self._limits.entries:
            raise too_many(self._limits)

    def measure(self, place: str, size: int, packed_size: int) -> None:
        """Add an entry's declared size. Raises TooLarge when it, or the sum, passes a limit."""
        limits = self._limits
        self._expanded += size
        if size > ENTRY_RATIO_FLOOR and size > limits.ratio * max(packed_size, 1):
            raise TooLarge(
                f"{names.printable(place)}: expands more than {limits.ratio} times, as "
                "decompression bombs do; pack the images without recompressing them.",
                code="archive_too_large",
            )
        check_expansion(self._expanded, self._archive_bytes, limits)
        if size > limits.entry_bytes and not place.casefold().endswith(TABLE_SUFFIX):
            raise TooLarge(
                f"{names.printable(place)}: {size:,} bytes, more than the "
                f"{limits.entry_bytes:,} allowed for one file.",
                code="archive_too_large",
            )

    def regular(self, place: str, mode: int) -> bool:
        """Whether a regular file's permission bits are harmless (a fault if they are not)."""
        if mode & _SETUID_SETGID:
            self.fault(place, "unsafe_member", "The file is marked set-user-id or set-group-id.")
            return False
        return True

    def add(
        self,
        name: str,
        *,
        size: int,
        offset: int,
        packed_size: int,
        method: int = STORED,
        crc: int | None = None,
    ) -> None:
        """Take a regular file if its name will do; anything wrong with it becomes a fault."""
        escape = names.escape_of(name)
        if escape is not None:
            self.fault(name, "unsafe_path", escape)
            return
        parts = names.parts_of(name)
        if parts and names.is_junk(parts):
            self._ignored += 1
            return
        blemish = names.blemish_of(parts, self._limits)
        if blemish is not None:
            self.fault(name, "bad_name", blemish)
            return
        if parts[-1].casefold().endswith(_ARCHIVE_SUFFIXES):
            self.fault(name, "nested_archive", "Archives inside the archive are not opened.")
            return
        canonical = unicodedata.normalize("NFC", "/".join(parts))
        self._note_name(parts, canonical)
        self._members.append(Member(canonical, size, offset, packed_size, method, crc))

    def check_directory(self, name: str) -> None:
        """Judge a directory entry: its name must be safe; it is remembered in case it is empty."""
        escape = names.escape_of(name)
        if escape is not None:
            self.fault(name, "unsafe_path", escape)
            return
        parts = names.parts_of(name)
        if parts and not names.is_junk(parts):
            self._directories.add(parts)

    def close(self) -> Listing:
        """Everything taken, in archive order. Raises BadArchive, listing all, for grave faults."""
        for name in self._taken.both():
            self.fault(name, "duplicate_name", "A file and a folder share this name.")
        grave, faults = self._grave, self._faults
        if grave.found:
            room = _DETAILS - min(grave.found, _DETAILS)
            details = (*grave.listed(), *faults.listed(room))
            raise refusal(details, total=grave.found + faults.found)
        listed, empty = faults.listed(), self._empty()
        return Listing(tuple(self._members), self._ignored, listed, faults.found, empty)

    def _empty(self) -> tuple[str, ...]:
        """The folders in which there is neither a file nor a folder."""
        if not self._directories:
            return ()
        empty = set(self._directories)
        for parts in (*self._directories, *(member.parts for member in self._members)):
            empty.difference_update(parts[:depth] for depth in range(1, len(parts)))
        return tuple(names.printable("/".join(each)) for each in sorted(empty))

    def _note_name(self, parts: tuple[str, ...], canonical: str) -> None:
        for clash in self._taken.take(parts, tuple(canonical.split("/"))):
            self.fault("/".join(parts), "duplicate_name", clash)
        self._name_bytes += sys.getsizeof(canonical)
        if self._name_bytes > self._limits.entries * _NAME_BYTES_PER_ENTRY:
            raise TooLarge(
                "The names in the archive are too long for so many files; shorten them or upload "
                "fewer images.",
                code="too_many_files",
            )
        if self._taken.folders > self._limits.entries:
            raise too_many(self._limits)


class _Findings:
    """The first so many problems, and how many there are."""

    def __init__(self) -> None:
        self.found = 0
        self._details: list[Detail] = []

    def add(self, place: str, code: str, message: str) -> None:
        self.found += 1
        if len(self._details) < _DETAILS:
            self._details.append(Detail(names.printable(place), code, message))

    def listed(self, room: int = _DETAILS) -> tuple[Detail, ...]:
        """As many as there is room for, and a line that says how many more there are."""
        shown = self._details[:room]
        more = self.found - len(shown)
        if not more:
            return tuple(shown)
        words = f"{more:,} more problems are not listed."
        return (*shown, Detail("", self._details[0].code, words))


def too_many(limits: UploadLimits) -> TooLarge:
    """The refusal of an archive with more entries than allowed."""
    return TooLarge(
        f"The archive has more than {limits.entries:,} entries; upload fewer images.",
        code="too_many_files",
    )


def check_expansion(expanded: int, archive_bytes: int, limits: UploadLimits) -> None:
    """Raise TooLarge when what is unpacked so far passes the size or the ratio limit."""
    if expanded > limits.expanded_bytes:
        raise TooLarge(
            f"The archive unpacks to more than {limits.expanded_bytes:,} bytes.",
            code="archive_too_large",
        )
    if expanded > ARCHIVE_RATIO_FLOOR and expanded > limits.ratio * max(archive_bytes, 1):
        raise TooLarge(
            f"The archive expands more than {limits.ratio} times, as decompression bombs do; "
            "pack the images without recompressing them.",
            code="archive_too_large",
        )
