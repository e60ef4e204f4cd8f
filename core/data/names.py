"""Names inside an archive: data to be judged and shown, never paths to be opened."""

import re
import unicodedata

from core.config import UploadLimits

_DRIVE = re.compile(r"^[A-Za-z]:")
_RESERVED = re.compile(r"^(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?$", re.IGNORECASE)
# Scripts and emoji need the two joiners; every other format character only hides something.
_JOINERS = "\u200c\u200d"
_HIDING = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_JUNK_FOLDERS = {"__macosx", "@eadir", "$recycle.bin", "system volume information"}
_JUNK_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"}
_SHOWN = 200


def parts_of(name: str) -> tuple[str, ...]:
    """The folders and file of a name, without empty and `.` steps."""
    return tuple(part for part in name.split("/") if part not in ("", "."))


def fold(name: str) -> str:
    """What two names share when a careful reader or a file system would take them for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def printable(name: str) -> str:
    """The name with nothing invisible in it, short enough for a message."""
    shown = "".join(
        char.encode("unicode_escape").decode() if unicodedata.category(char) in _HIDING else char
        for char in name[:_SHOWN]
    )
    return shown + ("…" if len(name) > _SHOWN else "")


def is_junk(parts: tuple[str, ...]) -> bool:
    """Whether an operating system or editor left this file: hidden, or known by name."""
    return (
        any(part.startswith(".") or part.casefold() in _JUNK_FOLDERS for part in parts)
        or parts[-1].casefold() in _JUNK_FILES
    )


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
    return next((why for part in parts if (why := _part_blemish(part, limits))), None)


def _part_blemish(part: str, limits: UploadLimits) -> str | None:
    if any(unicodedata.category(char) in _HIDING and char not in _JOINERS for char in part):
        return "The name contains a control or invisible character; rename it."
    if len(part.encode("utf-8")) > limits.name_bytes:
        return f"The name is longer than {limits.name_bytes} bytes; shorten it."
    if part.endswith((".", " ")):
        return "The name ends with a dot or a space, which some systems drop; rename it."
    if _RESERVED.match(part):
        return "The name is reserved on Windows; rename it."
    return None
