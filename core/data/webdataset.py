"""WebDataset archives: beside each image lies a file of the same key that says its class.

The key is the name up to its first dot. `.cls` and `.txt` hold a class, `.json` an object with the
columns of a table: `label`, and maybe `split` and a group.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from core.config import UploadLimits
from core.data import names
from core.data.items import Item
from core.data.labels import LABEL, SPLIT, Findings, Labels, Said
from core.data.layout import role_named
from core.data.members import Member
from core.domain.datasets import IntakeOptions
from core.errors import TooLarge

# The first kind that every image has says the classes.
_KINDS = ("cls", "json", "txt")
_LONGEST = {"cls": 4096, "json": 256 * 1024, "txt": 4096}
_TOTAL_BYTES = 64 * 1024**2

Read = Callable[[Member], bytes]


@dataclass(frozen=True, slots=True)
class Siblings:
    """For each image the file that says its class, all of one kind."""

    kind: str
    members: Sequence[Member]


def siblings(
    pictures: Sequence[Member], others: Sequence[Member], read: Read, options: IntakeOptions
) -> Siblings | None:
    """What makes the archive a WebDataset; None where any image lacks it.

    Text beside images in class folders is notes, and so are objects that name no class.
    """
    of = {_key(member): member for member in others}
    present = {key[-1] for key in of}  # mostly none, and then there is nothing to look up
    for kind in _KINDS if options.label is None else ("json",):
        if kind not in present:
            continue
        found = [of.get((*_key(picture)[:-1], kind)) for picture in pictures]
        members = [member for member in found if member is not None]
        if not members or len(members) < len(pictures):
            continue
        if kind == "json" and not _names_class(members[0], read, options):
            continue
        if kind == "txt" and _in_class_folders(pictures):
            continue
        return Siblings(kind, members)
    return None


def applied(
    items: Sequence[Item],
    siblings: Siblings,
    read: Read,
    limits: UploadLimits,
    options: IntakeOptions,
) -> tuple[Sequence[Item], Findings]:
    """The images with what their siblings say of them, and what is wrong with these.

    Raises TooLarge where they hold far more than classes.
    """
    if sum(member.size for member in siblings.members) > _TOTAL_BYTES:
        raise TooLarge(
            f"The .{siblings.kind} files have more than {_TOTAL_BYTES:,} bytes; leave in them "
            "only the class.",
            code="archive_too_large",
        )
    found = Findings()
    labels = Labels(limits, options, found)
    uses = Counter(member.name for member in siblings.members)
    shared = sorted(name for name, count in uses.items() if count > 1)
    for name in shared:
        words = "More than one image has this key; a sample has one image."
        found.fault(name, "several_images", words)
    told = [
        _said(member, siblings.kind, read, labels, found).of(item)
        for item, member in zip(items, siblings.members, strict=True)
    ]
    return told, found


def _key(member: Member) -> tuple[str, ...]:
    """Folders, the name up to its first dot, and what follows that in lower case."""
    key, _, kind = member.parts[-1].partition(".")
    return (*member.parts[:-1], key, kind.casefold())


def _in_class_folders(pictures: Sequence[Member]) -> bool:
    """Whether the images lie in several folders that are not those of splits."""
    folders = {picture.parts[:-1] for picture in pictures}
    return len(folders) > 1 and any(
        not folder or role_named(folder[-1]) is None for folder in folders
    )


def _names_class(member: Member, read: Read, options: IntakeOptions) -> bool:
    wanted = LABEL if options.label is None else options.label
    return wanted.casefold() in (_cells(member, read) or {})


def _cells(member: Member, read: Read) -> Mapping[str, object] | None:
    """The object in a `.json`, by lower-case names; None where there is none."""
    if member.size > _LONGEST["json"]:
        return None
    try:
        value = json.loads(read(member).decode())
    except (ValueError, RecursionError):
        return None
    return {k.casefold(): v for k, v in value.items()} if isinstance(value, dict) else None


def _said(member: Member, kind: str, read: Read, labels: Labels, found: Findings) -> Said:
    if kind == "json":
        cells = _cells(member, read)
        if cells is None:
            found.fault(member.name, "bad_table", "The file does not hold one JSON object.")
            return Said(None, None, None)
        group = labels.group_column
        return labels.said(
            cells.get(labels.column.casefold()),
            cells.get(SPLIT),
            None if group is None else cells.get(group.casefold()),
            member.name,
        )
    if member.size > _LONGEST[kind]:
        words = f"The file has {member.size:,} bytes; it may hold one class and nothing else."
        found.fault(member.name, "bad_label", words)
        return Said(None, None, None)
    try:
        text = read(member).decode()
    except UnicodeDecodeError as error:
        words = f"It is not UTF-8 ({names.printable(error.reason)}); save it as UTF-8."
        found.fault(member.name, "bad_encoding", words)
        return Said(None, None, None)
    return labels.said(text.strip(), None, None, member.name)
