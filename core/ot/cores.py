"""Independent computations side by side.

What is decomposed here are many small matrices, one after another: the threads of the linear
algebra cannot share them out, and on a busy machine wait for each other at every step.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")
_inside = threading.local()


def spread(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Results in the order of the items, computed on as many threads as PyTorch may use.

    Within a computation spread already, and with one thread, one after the other.

    Args:
        function: Touches nothing that the others touch; what it raises is raised here.
        items: One for each call.

    Yields:
        One result for each item, as soon as it and those before it are there.
    """
    workers = min(torch.get_num_threads(), len(items))
    if workers < 2 or getattr(_inside, "working", False):
        yield from map(function, items)
        return
    pool = ThreadPoolExecutor(workers, initializer=_enter)
    try:
        yield from pool.map(function, items)
    finally:
        pool.shutdown(cancel_futures=True)


def _enter() -> None:
    _inside.working = True
