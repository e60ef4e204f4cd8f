"""Several archives as one upload: their images side by side, each under its archive's name."""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Protocol

from core.config import UploadLimits
from core.data import names
from core.data.items import Item, Parts, Source
from core.data.layout import role_named, role_of_file, split_folders, wrapping_depth
from core.data.members import refusal
from core.domain.datasets import IntakeOptions, Problem
from core.errors import BadArchive, Detail, InvalidInput, TooLarge

_MOST = 16  # each holds a file or two open
_SUFFIX = re.compile(r"\.(zip|parquet|tgz|tzst|tar(\.(gz|zst))?)$", re.IGNORECASE)


class OpenOne(Protocol):
    """Opens one archive of the upload."""

    def __call__(
        self, path: Path, limits: UploadLimits, options: IntakeOptions, *, folder: Path
    ) -> AbstractContextManager[Source]:
        """Unpacks, if it must, into `folder`."""
        ...


@contextmanager
def opened(
    paths: Sequence[Path],
    limits: UploadLimits,
    options: IntakeOptions,
    *,
    open_one: OpenOne,
    folder: Path,
) -> Iterator[Source]:
    """Open all; together they may hold what one may hold.

    Raises BadArchive with what is wrong with any of them, TooLarge at a limit.
    """
    if not 0 < len(paths) <= _MOST:
        words = f"Upload 1 to {_MOST} archives as one dataset, not {len(paths)}."
        raise InvalidInput(words, code="too_many_archives")
    sources: list[Source] = []
    refused: list[Detail] = []
    called = _called(paths)
    left = limits
    with ExitStack() as stack:
        for name, path in zip(called, paths, strict=True):
            own = folder / f"archive-{len(sources) + len(refused)}"
            own.mkdir()
            stack.callback(own.rmdir)
            try:
                source = stack.enter_context(open_one(path, left, options, folder=own))
            except BadArchive as error:
                details = error.details or [Detail("", error.stable_code, error.message)]
                refused += [_under(name, detail) for detail in details]
            except TooLarge as error:
                raise TooLarge(f"{name}: {error.message}", code=error.stable_code) from error
            else:
                sources.append(source)
                left = _less(left, source, own)
        if refused:
            raise refusal(refused)
        yield _Joined(called, sources, [_SUFFIX.sub("", path.name) for path in paths])


def _called(paths: Sequence[Path]) -> Sequence[str]:
    """The archives' names, each one's own."""
    seen = Counter[str]()
    found = []
    for path in paths:
        name = names.printable(path.name)
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found


def _less(limits: UploadLimits, source: Source, unpacked: Path) -> UploadLimits:
    """What is left to the other archives: of images, and of space to unpack in."""
    used = sum(path.stat().st_size for path in unpacked.iterdir())
    return limits.model_copy(
        update={
            "entries": max(1, limits.entries - len(source.items)),
            "expanded_bytes": max(1, limits.expanded_bytes - used),
        }
    )


class _Joined:
    """The images of all archives, in their order."""

    def __init__(
        self, called: Sequence[str], sources: Sequence[Source], stems: Sequence[str]
    ) -> None:
        self._called = called
        self._sources = sources
        self._ends = list(accumulate(len(source.items) for source in sources))
        self.items: Sequence[Item] = [
            replace(item, name=f"{name}/{item.name}", parts=parts, split=split)
            for name, source, placed in zip(called, sources, _placed(sources, stems), strict=True)
            for item, (parts, split) in zip(source.items, placed, strict=True)
        ]
        self.problems: Sequence[Problem] = [
            replace(each, place=f"{name}/{each.place}" if each.place else name)
            for name, source in zip(called, sources, strict=True)
            for each in source.problems
        ]
        self.faults: Sequence[Detail] = [
            _under(name, each)
            for name, source in zip(called, sources, strict=True)
            for each in source.faults
        ]

    def read(self, index: int) -> bytes:
        """The image's bytes."""
        which = bisect_right(self._ends, index)
        start = self._ends[which - 1] if which else 0
        try:
            return self._sources[which].read(index - start)
        except BadArchive as error:
            name = self._called[which]
            raise refusal([_under(name, detail) for detail in error.details]) from error


def _under(name: str, detail: Detail) -> Detail:
    return replace(detail, place=f"{name}/{detail.place}" if detail.place else name)


def _placed(
    sources: Sequence[Source], stems: Sequence[str]
) -> Iterator[list[tuple[Parts, str | None]]]:
    """Each archive's images with the folders and the split that they have among all.

    An archive's name is a split's if all their names are and none has splits inside. Folders that
    wrap an archive are no classes, unless they wrap all in the same way.
    """
    folders = [[item.parts for item in source.items] for source in sources]
    wrappings = [_wrapping(own) for own in folders]
    inner = [_within(own, wrapping) for own, wrapping in zip(folders, wrappings, strict=True)]
    roles = [role_of_file(stem) for stem in stems]
    divided = any(item.split is not None for source in sources for item in source.items)
    by_name = not divided and None not in roles and not any(map(split_folders, inner))
    if not by_name:
        wrappings = [_before_split(wrapping) for wrapping in wrappings]
        if len(set(wrappings)) > 1:
            folders = [_within(own, each) for own, each in zip(folders, wrappings, strict=True)]
    for source, own, role in zip(sources, inner if by_name else folders, roles, strict=True):
        front = (role,) if by_name and role is not None else ()
        yield [
            ((*front, *parts), role if by_name and item.label is not None else item.split)
            for item, parts in zip(source.items, own, strict=True)
        ]


def _wrapping(folders: Sequence[Parts]) -> Parts:
    depth = wrapping_depth(folders)
    return next((parts[:depth] for parts in folders if len(parts) > depth), ())


def _within(folders: Sequence[Parts], wrapping: Parts) -> list[Parts]:
    """What is left of each, where the wrapping is; stray images may lie outside it."""
    return [
        parts[len(wrapping) :] if parts[: len(wrapping)] == wrapping else parts[-1:]
        for parts in folders
    ]


def _before_split(wrapping: Parts) -> Parts:
    """The wrapping up to a folder that is a split's: that one says something."""
    end = next((n for n, step in enumerate(wrapping) if role_named(step)), len(wrapping))
    return wrapping[:end]
