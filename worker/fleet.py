"""One worker for each GPU: started, started again when it dies, told to stop, waited for.

A GPU is shown to its own worker alone, which computes one job at a time; where several processes
compute a job, a worker has as many GPUs.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from types import FrameType

import structlog

from core.config import Settings
from core.errors import InvalidInput
from core.execution import parting
from core.execution.gpus import VISIBLE
from worker import beat

POLL_SECONDS = 0.2
PAUSES = (1.0, 30.0)  # before a new start: doubled from the first to the last while it dies young
YOUNG_SECONDS = 60.0
PARENT = "HEADSTART_WORKER_PARENT"  # not a setting: the id of the process that has started this

log = structlog.stdlib.get_logger(__name__)


class Member:
    """One worker and its environment."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._command, self._environment = tuple(command), dict(environment)
        self._process: subprocess.Popen[bytes] | None = None
        self._started = self._due = time.monotonic()
        self._pause = PAUSES[0]

    def tend(self) -> None:
        """Start it if it does not run and that is due."""
        if self._process is not None:
            if (status := self._process.poll()) is None:
                return
            self._bury(self._process.pid, status)
        if time.monotonic() >= self._due:
            self._started = time.monotonic()
            # A group of its own: Ctrl-C is for the fleet to pass on, once.
            self._process = subprocess.Popen(self._command, env=self._environment, process_group=0)
            log.info("worker_started", worker=self._process.pid, gpu=self._environment[VISIBLE])

    def _bury(self, pid: int, status: int) -> None:
        self._process = None
        if time.monotonic() - self._started >= YOUNG_SECONDS:
            self._pause = PAUSES[0]
        self._due = time.monotonic() + self._pause
        log.error("worker_died", worker=pid, status=status, pause_seconds=self._pause)
        self._pause = min(2 * self._pause, PAUSES[1])

    def stop(self) -> None:
        """Ask it to give its job back and end."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Its exit status; 0 for one that does not run."""
        return 0 if self._process is None else self._process.wait()


class Fleet:
    """All of them, until this process is told to stop."""

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = tuple(members)
        self._stopping = False

    def run(self) -> int:
        """Tend them; after SIGTERM or Ctrl-C, 0 if each has ended well."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        while not self._stopping:
            for member in self._members:
                member.tend()
            time.sleep(POLL_SECONDS)
        for member in self._members:
            member.stop()
        statuses = [member.wait() for member in self._members]
        return 1 if any(statuses) else 0

    def _stop(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._stopping = True


def of(settings: Settings, gpus: Sequence[str], arguments: Sequence[str]) -> Fleet:
    """A worker with these arguments for each GPU, or each `processes_per_job` of them.

    The machine's cores are shared out. Raises InvalidInput if GPUs are left over.
    """
    groups = _grouped(gpus, settings.processes_per_job)
    beat.expect(settings.home, range(len(groups)))
    command = (sys.executable, "-m", "worker", *arguments)
    threads = settings.threads_per_job or max(1, (os.cpu_count() or 1) // len(groups))
    device = "cuda" if settings.device == "auto" else settings.device

    def environment(place: int, group: str) -> dict[str, str]:
        return {
            **os.environ,
            VISIBLE: group,
            PARENT: str(os.getpid()),
            "HEADSTART_WORKER_PLACE": str(place),
            "HEADSTART_THREADS_PER_JOB": str(threads),
            # Never silently on the CPU, should the GPU be lost.
            "HEADSTART_DEVICE": device,
        }

    return Fleet([Member(command, environment(*each)) for each in enumerate(groups)])


def _grouped(gpus: Sequence[str], size: int) -> list[str]:
    if len(gpus) % size:
        raise InvalidInput(
            f"HEADSTART_PROCESSES_PER_JOB={size} takes {size} GPUs for each worker, and "
            f"{len(gpus)} cannot be divided by that; name others by HEADSTART_WORKER_GPUS."
        )
    return [",".join(gpus[at : at + size]) for at in range(0, len(gpus), size)]


def follow_parent() -> None:
    """Let this process, if it belongs to a fleet, drain when the one that started it dies."""
    if parent := os.environ.pop(PARENT, None):
        parting.die_with_parent(signal.SIGTERM)
        if os.getppid() != int(parent):
            sys.exit("The process that has started this worker is gone.")
