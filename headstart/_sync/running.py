"""The two things that wait: written once for each half, everything else is made from the other."""

import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def sleep(seconds: float) -> None:
    """Wait."""
    time.sleep(seconds)


def run(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Work, here."""
    return work(*args, **kwargs)
