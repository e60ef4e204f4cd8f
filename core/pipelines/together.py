"""A job on several processes: what the first of them does for all, and what the others wait for.

Each runs the same pipeline and meets the others in the steps of a training. What must not be done
twice, or could come out otherwise elsewhere, is the first one's: it alone reports, keeps
checkpoints, asks the clock and writes results.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

from core.pipelines.context import Context, Stopped

T = TypeVar("T")
_LONGEST = 4096  # bytes of a path, on every system there is


def is_first(context: Context) -> bool:
    """Whether this process is the one that speaks for all; a single one is."""
    return context.ranks.rank == 0


def file_of_first(context: Context, make: Callable[[], Path | None]) -> Path | None:
    """The file that the first process makes, or None if it makes none; the others only wait.

    It must not be written to again: when the others will have read it is not known.
    """
    said = torch.zeros(_LONGEST, dtype=torch.uint8)
    if is_first(context):
        path = make()
        if context.ranks.size == 1:
            return path
        name = os.fsencode(path or "")
        said[: len(name)] = torch.tensor(list(name), dtype=torch.uint8)
    name = bytes(context.ranks.of_first(said).tolist()).rstrip(b"\0")
    return Path(os.fsdecode(name)) if name else None


def restored(context: Context) -> Path | None:
    """The checkpoint to go on from, the same in all processes."""

    def fetch() -> Path | None:
        found = context.restore()
        return None if found is None else found.path

    return file_of_first(context, fetch)


def after_first(context: Context, work: Callable[[], T]) -> T:
    """What each process does, the others when the first is done: they find what it has left."""
    if is_first(context):
        done = work()
        context.ranks.of_first(torch.zeros(()))
        return done
    context.ranks.of_first(torch.zeros(()))
    return work()


def leave_to_first(context: Context) -> None:
    """End the other processes here: the rest is the first one's. Raises Stopped in them."""
    if not is_first(context):
        raise Stopped
