"""The two things that wait: written once for each half, everything else is made from this one."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import anyio
import anyio.to_thread

P = ParamSpec("P")
T = TypeVar("T")


async def sleep(seconds: float) -> None:
    """Let others run meanwhile."""
    await anyio.sleep(seconds)


async def run(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Work that would hold up the event loop, in a thread of its own."""
    return await anyio.to_thread.run_sync(lambda: work(*args, **kwargs))
