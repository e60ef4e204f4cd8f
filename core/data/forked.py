"""The same work on many things in processes forked off a confined one, confined as it is."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from core.config import UploadLimits
from core.data.confinement import die_with_parent, told_by
from core.errors import AppError

Task = TypeVar("Task")
Result = TypeVar("Result")


MOST = 16  # each takes memory of its own, and two of the files that may be open at once


def available(limits: UploadLimits) -> int:
    """How many processes one upload's work may have."""
    return min(limits.workers or len(os.sched_getaffinity(0)), MOST)


def each(
    work: Callable[[Task], Result], tasks: Sequence[Task], *, workers: int
) -> Iterator[Result]:
    """What `work` makes of every task, in order. One worker is this process itself.

    When a process died, raises TooLarge if it was killed for its use of memory or time, and
    InvalidInput (`unreadable_archive`) if not.
    """
    if workers == 1:
        yield from map(work, tasks)
        return
    started: list[multiprocessing.process.BaseProcess] = []
    try:
        # Forked, for what is to be shared (an open upload) cannot be sent; none has threads yet.
        with ProcessPoolExecutor(
            workers,
            mp_context=multiprocessing.get_context("fork"),
            initializer=_begin,
            initargs=(work, os.getpid()),
        ) as pool:
            pool.submit(os.getpid)  # the first task starts all of them
            started += multiprocessing.active_children()
            yield from pool.map(_go_on, tasks)
    except BrokenProcessPool:
        raise _died([each.exitcode or 0 for each in started]) from None


def _died(statuses: Sequence[int]) -> AppError:
    """Of one that ended by itself; the others were asked to end."""
    own = [status for status in statuses if status not in (0, -signal.SIGTERM)]
    return told_by(own[0] if own else 0)


_shared: list[Callable[[Any], Any]] = []  # of a forked process, which has just one


def _begin(work: Callable[[Any], Any], parent: int) -> None:
    die_with_parent(parent)
    _shared.append(work)


def _go_on(task: Any) -> Any:
    return _shared[0](task)
