"""Uploads of every kind that is understood, opened as images to be read."""

import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

from core.config import UploadLimits
from core.data import archive, images, joined, metadata, parquet_source, signatures, webdataset
from core.data.archive import Archive
from core.data.items import Item, Source
from core.data.labels import Findings
from core.data.members import TABLE_SUFFIX, Member
from core.data.parquet_source import Shard
from core.domain.datasets import IntakeOptions, Problem
from core.errors import Detail, TooLarge

_LISTED_OTHERS = 100


@contextmanager
def opened(
    paths: Sequence[Path], limits: UploadLimits, options: IntakeOptions, *, folder: Path
) -> Iterator[Source]:
    """Open the files of one upload; `folder` is where parts of them may be unpacked meanwhile.

    Raises BadArchive or TooLarge.
    """
    if len(paths) == 1:
        with _opened(paths[0], limits, options, folder=folder) as source:
            yield source
    else:
        with joined.opened(paths, limits, options, open_one=_opened, folder=folder) as source:
            yield source


@contextmanager
def _opened(
    path: Path, limits: UploadLimits, options: IntakeOptions, *, folder: Path
) -> Iterator[Source]:
    if parquet_source.is_parquet(path):
        size = path.stat().st_size
        if size > limits.archive_bytes:
            raise TooLarge(
                f"The file has {size:,} bytes; at most {limits.archive_bytes:,} are allowed.",
                code="archive_too_large",
            )
        alone = [Shard("", lambda: path.open("rb"))]
        with parquet_source.opened(alone, limits, options, folder=folder) as rows:
            yield rows
    else:
        with (
            archive.opened(path, limits, folder=folder, strict=False) as found,
            _understood(found, limits, options, folder) as source,
        ):
            yield source


@contextmanager
def _understood(
    found: Archive, limits: UploadLimits, options: IntakeOptions, folder: Path
) -> Iterator[Source]:
    """The images of an archive, or of the Parquet files in one that has no other images."""
    pictures: list[Member] = []
    others: list[Member] = []
    for member in found.members:
        (pictures if _is_picture(found, member) else others).append(member)
    tables = [each for each in others if each.parts[-1].casefold().endswith(TABLE_SUFFIX)]
    if pictures or not tables:
        yield _Images(found, pictures, others, limits, options)
        return
    shards = [Shard(each.name, partial(_alone, found, each, folder)) for each in tables]
    with parquet_source.opened(shards, limits, options, folder=folder) as rows:
        rows.problems = (*rows.problems, *_passed_over(found, others, tables))
        rows.faults = (*found.faults, *rows.faults)
        yield rows


def _alone(found: Archive, member: Member, folder: Path) -> BinaryIO:
    """A member as a file without a name, gone when it is closed."""
    file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  (the caller closes it)
    found.copy(member, file)
    return file


class _Images:
    """Images that are files of an archive; their folders, tables or siblings say their classes."""

    def __init__(
        self,
        found: Archive,
        pictures: Sequence[Member],
        others: Sequence[Member],
        limits: UploadLimits,
        options: IntakeOptions,
    ) -> None:
        self._archive = found
        self._members = pictures
        self.items: Sequence[Item] = [Item(each.name, each.parts) for each in pictures]
        told = Findings()
        read, understood = found.read, [each for each in others if metadata.is_table(each.parts)]
        if understood:
            self.items, told = metadata.applied(understood, read, self.items, limits, options)
        elif (beside := webdataset.siblings(pictures, others, read, options)) is not None:
            understood = list(beside.members)
            self.items, told = webdataset.applied(self.items, beside, read, limits, options)
        elif options.label is not None:
            words = "There is no metadata.csv or metadata.jsonl with a column that names classes."
            told.fault("", "no_label_column", words)
        self.problems: Sequence[Problem] = (
            *told.problems,
            *_empty_folders(found.empty),
            *_passed_over(found, others, understood),
        )
        self.faults: Sequence[Detail] = (*found.faults, *told.faults)

    def read(self, index: int) -> bytes:
        """The member's bytes."""
        return self._archive.read(self._members[index])


def _is_picture(found: Archive, member: Member) -> bool:
    """By its suffix, or by its signature when that says nothing."""
    _, dot, suffix = member.name.rpartition(".")
    suffix = suffix.casefold() if dot else ""
    if f".{suffix}" == TABLE_SUFFIX:
        return False
    if suffix in images.READABLE_SUFFIXES or suffix in images.OTHER_IMAGE_SUFFIXES:
        return True
    # Two letters are no signature: much text begins with them.
    return signatures.format_of(found.head(member, 12)) not in (None, "BMP")


def _empty_folders(empty: Sequence[str]) -> Iterator[Problem]:
    words = "The folder is empty: if it is a class, no image of it came along."
    for name in empty[:_LISTED_OTHERS]:
        yield Problem("warning", "empty_class", name, words)


def _passed_over(
    found: Archive, others: Sequence[Member], understood: Collection[Member]
) -> Iterator[Problem]:
    known = {member.name for member in understood}
    left = [member for member in others if member.name not in known]
    for member in left[:_LISTED_OTHERS]:
        yield Problem("warning", "not_an_image", member.name, "Not an image; it was left out.")
    if len(left) > _LISTED_OTHERS:
        more = len(left) - _LISTED_OTHERS
        yield Problem("warning", "not_an_image", "", f"{more:,} more files are not images.")
    if found.ignored:
        words = f"{found.ignored:,} hidden or operating-system files (such as .DS_Store) were "
        yield Problem("warning", "ignored_files", "", words + "ignored.")
