"""Class names that a table gives: judged as the names of folders in an archive are."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from core.config import UploadLimits
from core.data import names
from core.data.items import Item
from core.domain.datasets import GROUP_PREFIX, IntakeOptions, Problem
from core.errors import Detail

LABEL: Final = "label"
SPLIT: Final = "split"
_TEXT = 1_000
_MOST_FAULTS = 10_000


@dataclass(slots=True)
class Findings:
    """What is found while tables are read: worth telling, or reason to refuse."""

    problems: list[Problem] = field(default_factory=list)
    faults: list[Detail] = field(default_factory=list)

    def warn(self, place: str, code: str, message: str) -> None:
        """Note what harms nothing."""
        self.problems.append(Problem("warning", code, names.printable(place), message))

    def fault(self, place: str, code: str, message: str) -> None:
        """Note a reason to refuse the upload, if it is not of too many to read."""
        if len(self.faults) < _MOST_FAULTS:
            self.faults.append(Detail(names.printable(place), code, message))

    def lacking(self, found: Sequence[Detail], *, share: float, total: int) -> None:
        """Note what names an image that is not there: a fault if that is more than the share."""
        if len(found) > share * total:
            self.faults += found
        else:
            self.problems += [Problem("error", d.code, d.place, d.message) for d in found]


@dataclass(frozen=True, slots=True)
class Said:
    """What a table says of one image."""

    label: str | None
    split: str | None
    group: str | None

    def of(self, item: Item) -> Item:
        """The image, with that said of it."""
        return replace(item, label=self.label, split=self.split, group=self.group)


class Labels:
    """Takes the cells of tables; anything wrong with one becomes a fault at its place."""

    def __init__(self, limits: UploadLimits, options: IntakeOptions, found: Findings) -> None:
        self._limits = limits
        self._found = found
        self._spelled: dict[str, str] = {}
        self._judged: dict[str, str | None] = {}
        self.column = LABEL if options.label is None else options.label
        self.chosen = options.label is not None
        by_column = options.group is not None and not options.group.startswith(GROUP_PREFIX)
        self.group_column = options.group if by_column else None

    def said(self, label: object, split: object, group: object, place: str) -> Said:
        """One row's three cells."""
        return Said(self.label(label, place), self._text(split), self._text(group))

    def label(self, value: object, place: str) -> str | None:
        """The class that a cell names, in one spelling; None where it names none."""
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63:
            value = str(value)
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            words = "The class is neither text nor a whole number; write its name."
            self._found.fault(place, "bad_label", words)
            return None
        name = unicodedata.normalize("NFC", value)
        blemish = self._blemish(name)
        if blemish is not None:
            shown = names.printable(value)
            self._found.fault(place, "bad_label", f"The class {shown} cannot be used. {blemish}")
            return shown
        known = self._spelled.setdefault(names.fold(name), name)
        if known != name:
            words = f"The class {name} is also spelled {known}; use one spelling."
            self._found.fault(place, "duplicate_name", words)
        return known

    def _blemish(self, name: str) -> str | None:
        if name not in self._judged:
            self._judged[name] = blemish_of(name, self._limits)
        return self._judged[name]

    def _text(self, value: object) -> str | None:
        """A split or a group: compared, and sometimes shown."""
        if value is None or value == "":
            return None
        return names.printable(unicodedata.normalize("NFC", str(value)[:_TEXT]))


def blemish_of(name: str, limits: UploadLimits) -> str | None:
    """Why this cannot be a class, if it cannot: it must do as a folder's name, as in archives."""
    if "/" in name:
        return "The name contains a slash; replace it, say by a dash."
    escape = names.escape_of(name)
    if escape is not None:
        return escape
    if name == "." or names.is_junk((name, "image")):
        return "Hidden and operating-system folders have such names; rename it."
    return names.blemish_of((name,), limits)
