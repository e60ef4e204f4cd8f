"""Uploads of every kind that is understood, opened as images to be read."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from core.config import UploadLimits
from core.data import archive, images, metadata
from core.data.archive import Archive
from core.data.items import Item, Source
from core.data.members import Member
from core.domain.datasets import IntakeOptions, Problem
from core.errors import Detail

_LISTED_OTHERS = 100


@contextmanager
def opened(
    path: Path, limits: UploadLimits, options: IntakeOptions, *, folder: Path
) -> Iterator[Source]:
    """Open the upload at `path`; `folder` is where parts of it may be unpacked meanwhile.

    Raises BadArchive or TooLarge.
    """
    with archive.opened(path, limits, folder=folder, strict=False) as found:
        yield _Images(found, limits, options)


class _Images:
    """Images that are files of an archive: known by name, or by signature when that is silent.

    Their folders say what they are of, or tables beside them.
    """

    def __init__(self, found: Archive, limits: UploadLimits, options: IntakeOptions) -> None:
        self._archive = found
        self._members: list[Member] = []
        others: list[Member] = []
        for member in found.members:
            (self._members if _is_picture(found, member) else others).append(member)
        self.items: Sequence[Item] = [Item(each.name, each.parts) for each in self._members]
        self.problems: Sequence[Problem] = ()
        self.faults: Sequence[Detail] = found.faults
        tables = [member for member in others if metadata.is_table(member.parts)]
        if tables:
            self.items, told = metadata.applied(tables, found.read, self.items, limits, options)
            self.problems = told.problems
            self.faults = (*found.faults, *told.faults)
        self.problems = (*self.problems, *_other_files(others, tables), *_ignored(found.ignored))

    def read(self, index: int) -> bytes:
        """The member's bytes."""
        return self._archive.read(self._members[index])


def _is_picture(found: Archive, member: Member) -> bool:
    _, dot, suffix = member.parts[-1].rpartition(".")
    suffix = suffix.casefold() if dot else ""
    if suffix in images.READABLE_SUFFIXES or suffix in images.OTHER_IMAGE_SUFFIXES:
        return True
    # Two letters are no signature: much text begins with them.
    return images.format_of(found.head(member, 12)) not in (None, "BMP")


def _other_files(others: Sequence[Member], understood: Collection[Member]) -> Iterator[Problem]:
    known = {member.name for member in understood}
    left = [member for member in others if member.name not in known]
    for member in left[:_LISTED_OTHERS]:
        yield Problem("warning", "not_an_image", member.name, "Not an image; it was left out.")
    if len(left) > _LISTED_OTHERS:
        more = len(left) - _LISTED_OTHERS
        yield Problem("warning", "not_an_image", "", f"{more:,} more files are not images.")


def _ignored(count: int) -> Iterator[Problem]:
    if count:
        words = f"{count:,} hidden or operating-system files (such as .DS_Store) were ignored."
        yield Problem("warning", "ignored_files", "", words)
