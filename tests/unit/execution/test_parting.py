"""No process computes on without its supervisor, whatever it is doing when that is killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil
import pytest

from tests.unit.execution.bench import alive, eventually

CHILD = """
import ctypes, subprocess, sys, time
from core.execution import parting
parting.die_with_parent()
with parting.watched():
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print(other.pid, flush=True)
    {deed}
"""
SUPERVISOR = """
import subprocess, sys, time
child = subprocess.Popen(
    [sys.executable, "-c", sys.argv[1]],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0,
)
print(child.pid, int(child.stdout.readline()), flush=True)
time.sleep(600)
"""
SLEEP = "time.sleep(600)"
HOLD_THE_LOCK = "ctypes.PyDLL(None).sleep(600)"


@contextmanager
def supervised(deed: str) -> Iterator[tuple["subprocess.Popen[str]", int, int]]:
    """A supervisor, its child that does the deed, and what that child has started."""
    command = [sys.executable, "-c", SUPERVISOR, CHILD.format(deed=deed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child, other = map(int, process.stdout.readline().split())
        try:
            yield process, child, other
        finally:
            process.kill()
            with suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)


def twin_of(child: int, other: int) -> int:
    (twin,) = (process.pid for process in psutil.Process(child).children() if process.pid != other)
    return twin


@pytest.mark.parametrize("case", ["busy", "stopped", "group stopped", "lock held"])
def test_a_killed_supervisor_leaves_nothing(case: str) -> None:
    with supervised(HOLD_THE_LOCK if case == "lock held" else SLEEP) as (process, child, other):
        twin = twin_of(child, other)
        if case == "stopped":
            os.kill(child, signal.SIGSTOP)
        elif case == "group stopped":
            os.killpg(child, signal.SIGSTOP)
        process.kill()
        eventually(lambda: not alive(child))
        eventually(lambda: not alive(other) and not alive(twin))


@pytest.mark.parametrize("deed", [SLEEP, HOLD_THE_LOCK])
def test_without_its_twin_a_child_is_killed_by_the_kernel(deed: str) -> None:
    with supervised(deed) as (process, child, other):
        os.kill(twin_of(child, other), signal.SIGKILL)
        process.kill()
        eventually(lambda: not alive(child))


def test_a_child_that_ends_by_itself_takes_its_twin_along() -> None:
    with supervised("pass") as (_, child, other):
        eventually(lambda: not alive(child))
        assert alive(other)  # not the twin's to kill: the supervisor lives and sees to it
        group = [p.pid for p in psutil.process_iter() if alive(p.pid) and is_in(p.pid, child)]
        assert group == [other]


def is_in(pid: int, group: int) -> bool:
    try:
        return os.getpgid(pid) == group
    except ProcessLookupError:
        return False
