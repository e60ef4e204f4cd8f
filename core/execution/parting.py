"""How a computing process dies with its supervisor, however that went and whatever it is doing.

Two ways, as each has a gap. A twin, forked before any thread exists, waits for the end of standard
input, which the supervisor holds open, and kills the whole group: also what this process has
started, also while it is stopped or holds the interpreter's lock in foreign code. The kernel
(Linux alone) kills this process when the thread that started it ends: also when the twin is gone
or the whole group is stopped.
"""

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from typing import NoReturn

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(how: signal.Signals = signal.SIGKILL) -> None:
    """Let the kernel send this process a signal when its parent dies; a no-op outside Linux.

    A parent that is gone already sends nothing: compare its id afterwards.
    """
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        if prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(how), 0, 0, 0) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Have a twin watch standard input for as long as the block runs. Call it without threads."""
    twin = os.fork()
    if twin == 0:
        _watch(os.getppid())
    try:
        yield
    finally:
        os.kill(twin, signal.SIGKILL)
        os.waitpid(twin, 0)


def leave() -> NoReturn:
    """End at once, with everything this process has started."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _watch(principal: int) -> NoReturn:
    try:
        os.close(1)  # the supervisor reads the other end until the last writer is gone
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        # Woken, not killed: a stopped twin must run to see what is left of the group to its end.
        die_with_parent(signal.SIGCONT)
        while os.read(0, 4096):
            pass
    finally:
        if os.getpgrp() == principal:
            os.killpg(principal, signal.SIGKILL)
        elif os.getppid() == principal:  # not its group's leader: started by hand
            os.kill(principal, signal.SIGKILL)
        os._exit(1)
