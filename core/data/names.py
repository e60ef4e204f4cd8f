"""Names inside an archive: data to be judged and shown, never paths to be opened."""

import re
import unicodedata
from collections.abc import Iterator

from core.config import UploadLimits

_DRIVE = re.compile(r"^[A-Za-z]:")
_RESERVED = re.compile(r"^(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?$", re.IGNORECASE)
# Scripts and emoji need the two joiners; every other format character only hides something.
_JOINERS = "\u200c\u200d"
_HIDING = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # none of them is printable
_JUNK_FOLDERS = {"__macosx", "@eadir", "$recycle.bin", "system volume information"}
_JUNK_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"}
_SHOWN = 200
# As in Unicode's Stream-Safe Text Format (UAX 15): no script needs as many, and long runs of marks
# take quadratic time to put in order.
_MARKS = 30
_PILE = re.compile(rb"[^\0]{%d}" % (_MARKS + 1))  # in combining classes: 0 is no mark


class Taken:
    """The names already used, as a system sees them that ignores case and Unicode form.

    Folders are a tree, and everything is kept as UTF-8: neither depth nor wide characters can make
    much of a name.
    """

    def __init__(self) -> None:
        self._folders: dict[tuple[int, bytes], int] = {}
        self._files: dict[tuple[int, bytes], bytes] = {}
        self._spelled: list[tuple[int, bytes]] = [(0, b"")]  # each folder's parent and own name

    @property
    def folders(self) -> int:
        """How many folders there are, those that names only imply too."""
        return len(self._folders)

    def take(self, spelled: tuple[str, ...], canonical: tuple[str, ...]) -> list[str]:
        """Note a file's name, as spelled and in NFC; why it cannot stand beside those before."""
        at, otherwise = 0, False
        steps = [_both_ways(*step) for step in zip(spelled, canonical, strict=True)]
        for mine, folded in steps[:-1]:
            folder = self._folders.get((at, folded))
            if folder is None:
                folder = self._folders[at, folded] = len(self._spelled)
                self._spelled.append((at, mine))
            otherwise = otherwise or self._spelled[folder][1] != mine
            at = folder
        mine, folded = steps[-1]
        key = (at, folded)
        other = self._files.get(key)
        clashes = []
        if other is not None:
            how = f", spelled {self._shown(at, other)}" if otherwise or other != mine else ""
            clashes.append(f"Another file has this name{how}.")
        self._files[key] = mine
        if otherwise:
            shown = self._shown(*self._spelled[at])
            clashes.append(f"Its folder is also spelled {shown}; use one spelling.")
        return clashes

    def both(self) -> Iterator[str]:
        """The names that a file and a folder share."""
        for key, name in self._files.items():
            if key in self._folders:
                yield self._path(key[0], name)

    def _path(self, folder: int, name: bytes) -> str:
        steps = [name]
        while folder:
            folder, step = self._spelled[folder]
            steps.append(step)
        return b"/".join(reversed(steps)).decode()

    def _shown(self, folder: int, name: bytes) -> str:
        return printable(self._path(folder, name))


def _both_ways(spelled: str, canonical: str) -> tuple[bytes, bytes]:
    mine, folded = spelled.encode(), _folded(canonical).encode()
    return mine, mine if mine == folded else folded  # one object: there may be many


def parts_of(name: str) -> tuple[str, ...]:
    """The folders and file of a name, without empty and `.` steps."""
    return tuple(part for part in name.split("/") if part not in ("", "."))


def fold(name: str) -> str:
    """What two names share when a careful reader or a file system would take them for one."""
    return _folded(unicodedata.normalize("NFC", name))


def _folded(canonical: str) -> str:
    folded = canonical.casefold()
    return canonical if folded == canonical else unicodedata.normalize("NFC", folded)


def printable(name: str) -> str:
    """The name with nothing invisible in it, short enough for a message."""
    shown = name[:_SHOWN]
    if not shown.isprintable():
        shown = "".join(
            char.encode("unicode_escape").decode()
            if unicodedata.category(char) in _HIDING
            else char
            for char in shown
        )
    return shown + ("…" if len(name) > _SHOWN else "")


def is_junk(parts: tuple[str, ...]) -> bool:
    """Whether an operating system or editor left this file: hidden, or known by name."""
    folded = [part.casefold() for part in parts]
    if folded[-1] in _JUNK_FILES or not _JUNK_FOLDERS.isdisjoint(folded):
        return True
    return any(part.startswith(".") for part in parts)


def escape_of(name: str) -> str | None:
    """Why the name could leave the folder it is unpacked into, if it could."""
    if "\\" in name:
        return "The name contains a backslash; use forward slashes between folders."
    if name.startswith("/") or _DRIVE.match(name):
        return "The name is absolute; names must be relative to the archive."
    if ".." in name.split("/"):
        return "The name climbs out of its folder with '..'."
    return None


def blemish_of(parts: tuple[str, ...], limits: UploadLimits) -> str | None:
    """Why the name cannot be kept as a file or class name, if it cannot."""
    if not parts:
        return "The name is empty."
    if len(parts) > limits.depth:
        return f"The file lies deeper than {limits.depth} levels; use fewer nested folders."
    if any(len(part.encode("utf-8", "surrogatepass")) > limits.name_bytes for part in parts):
        return f"The name is longer than {limits.name_bytes} bytes; shorten it."
    whole = "/".join(parts)
    if not whole.isprintable() and _hides(whole):
        return "The name contains a control or invisible character; rename it."
    if _piles_marks(whole):
        return f"The name has more than {_MARKS} accents on one letter; rename it."
    if any(part.endswith((".", " ")) for part in parts):
        return "The name ends with a dot or a space, which some systems drop; rename it."
    if any(map(_RESERVED.match, parts)):
        return "The name is reserved on Windows; rename it."
    return None


def _hides(name: str) -> bool:
    return any(
        unicodedata.category(char) in _HIDING and char not in _JOINERS
        for char in set(name)
        if not char.isprintable()
    )


def _piles_marks(name: str) -> bool:
    if len(name) <= _MARKS or name.isascii():
        return False
    return _PILE.search(bytes(map(unicodedata.combining, name))) is not None
