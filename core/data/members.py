"""What an archive's directory may say: every entry is judged here before a byte of it is read."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from core.config import UploadLimits
from core.data import names
from core.errors import BadArchive, Detail, TooLarge

STORED, DEFLATED = 0, 8
# Tiny files made of one colour compress without bound and harm nobody: ratios count above these.
ENTRY_RATIO_FLOOR = 1024**2
ARCHIVE_RATIO_FLOOR = 16 * 1024**2
_DETAILS = 1_000
_ARCHIVE_SUFFIXES = (
    ".zip", ".tar", ".gz", ".tgz", ".bz2", ".tbz", ".xz", ".txz", ".zst", ".7z", ".rar", ".jar",
)  # fmt: skip
_SETUID_SETGID = 0o6000


@dataclass(frozen=True, slots=True)
class Member:
    """One regular file of an archive: its name (NFC, as data) and where its bytes lie."""

    name: str
    parts: tuple[str, ...]
    size: int
    offset: int
    packed_size: int
    method: int = STORED
    crc: int | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """The files worth looking at, and how many of an operating system's own were passed over."""

    members: tuple[Member, ...]
    ignored: int


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
        self._members: list[Member] = []
        self._details: list[Detail] = []
        self._faults = 0
        self._ignored = 0
        self._entries = 0
        self._expanded = 0
        self._files: dict[str, str] = {}
        self._folders: dict[str, str] = {}

    def fault(self, place: str, code: str, message: str) -> None:
        """Note a reason to refuse the archive and go on looking for others."""
        self._faults += 1
        if len(self._details) < _DETAILS:
            self._details.append(Detail(names.printable(place), code, message))

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
        if size > limits.entry_bytes:
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
        self._note_spelling(parts)
        canonical = tuple(unicodedata.normalize("NFC", part) for part in parts)
        self._members.append(
            Member("/".join(canonical), canonical, size, offset, packed_size, method, crc)
        )

    def check_directory(self, name: str) -> None:
        """Judge a directory entry: its name must be safe, and nothing else matters."""
        escape = names.escape_of(name)
        if escape is not None:
            self.fault(name, "unsafe_path", escape)

    def close(self) -> Listing:
        """Everything taken, in archive order. Raises BadArchive listing all faults."""
        for key in self._files.keys() & self._folders.keys():
            self.fault(self._files[key], "duplicate_name", "A file and a folder share this name.")
        if self._details:
            raise refusal(self._details, total=self._faults)
        return Listing(tuple(self._members), self._ignored)

    def _note_spelling(self, parts: tuple[str, ...]) -> None:
        name = "/".join(parts)
        other = self._files.get(names.fold(name))
        if other is not None:
            self.fault(
                name,
                "duplicate_name",
                "Another file has this name"
                + (f", spelled {names.printable(other)}." if other != name else "."),
            )
        self._files[names.fold(name)] = name
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            spelled = self._folders.setdefault(names.fold(folder), folder)
            if spelled != folder:
                self.fault(
                    name,
                    "duplicate_name",
                    f"Its folder is also spelled {names.printable(spelled)}; use one spelling.",
                )


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
