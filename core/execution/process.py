"""A child process that computes, and the two threads that listen to it and outlive it."""

import contextlib
import math
import os
import queue
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from threading import Lock, Thread
from types import TracebackType
from typing import IO, Self, cast

import structlog

from core import crash_points
from core.execution import host_memory, protocol

EXIT_SECONDS = 5.0  # how long a child that has said its last word may take to be gone
KILL_SECONDS = 30.0  # how long a killed one may take to be gone
POLL_SECONDS = 0.02  # how soon its end is noticed

log = structlog.stdlib.get_logger(__name__)


class ChildProcess:
    """A child in a process group of its own; leaving the `with` block leaves nothing alive.

    Except for one that is stuck in the kernel, where a kill waits until a driver answers.

    The child is killed at the deadline unless `keep_until` moves it, even when the caller hangs in
    a call to the database: a supervisor that lost touch must not compute beside its successor.
    The thread that makes it must stay alive as long as it: the kernel kills a child (see
    `core.execution.child`) at the end of the thread that started it.
    """

    def __init__(
        self, command: Sequence[str], *, envelope: bytes, env: Mapping[str, str], deadline: float
    ) -> None:
        self.expired = False
        self._deadline = deadline
        self._killed_at = math.inf
        self._left = False
        self._reaping = Lock()  # a process that has been waited for must not be signalled any more
        self._events: queue.SimpleQueue[protocol.Event] = queue.SimpleQueue()
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(env), process_group=0
        )
        self._reader = Thread(target=self._listen, name="child-events", daemon=True)
        self._guard = Thread(target=self._watch, name="child-guard", daemon=True)
        self._reader.start()
        self._guard.start()
        with contextlib.suppress(BrokenPipeError):  # it died at once; Exited will say so
            self._stdin.write(envelope)
            self._stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self._guard.join(EXIT_SECONDS)
        self.kill()
        self._left = True
        patience = self._killed_at + KILL_SECONDS - time.monotonic()
        self._guard.join(max(0.0, min(KILL_SECONDS, patience)))
        if not self._guard.is_alive():
            self._close()

    @property
    def stuck(self) -> bool:
        """Whether it was killed long ago and is still there."""
        return time.monotonic() >= self._killed_at + KILL_SECONDS and self._guard.is_alive()

    @property
    def pid(self) -> int:
        """The child's process id, which is its group's too."""
        return self._process.pid

    def events(self, timeout: float) -> Iterator[protocol.Event]:
        """What the child has said: waits up to `timeout` for the first, then takes what is there.

        The last event ever is `Exited`.
        """
        with contextlib.suppress(queue.Empty):
            yield self._events.get(timeout=timeout)
            while True:
                yield self._events.get_nowait()

    def keep_until(self, deadline: float) -> None:
        """Let the child live until this moment of the monotonic clock."""
        self._deadline = deadline

    def terminate(self) -> None:
        """Ask the child to stop at its next report."""
        with self._reaping:
            if self._process.returncode is None:
                os.kill(self._process.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End the child and everything it started."""
        with self._reaping:
            if self._process.returncode is None:
                self._kill_group()

    @property
    def _stdin(self) -> IO[bytes]:
        return cast(IO[bytes], self._process.stdin)

    @property
    def _stdout(self) -> IO[bytes]:
        return cast(IO[bytes], self._process.stdout)

    def _listen(self) -> None:
        for line in self._stdout:
            try:
                self._events.put(protocol.decode(line))
            except (ValueError, KeyError, TypeError):  # cut short by a kill
                log.warning("child_line_unreadable", size=len(line))

    def _watch(self) -> None:
        while (exited := self._reap()) is None:
            if time.monotonic() >= self._deadline and not self.expired:
                self.expired = True
                self._kill_group()
            time.sleep(POLL_SECONDS)
        self._kill_group()  # what it started would hold the pipe open
        self._reader.join()
        self._events.put(exited)
        if self._left:  # nobody waited for one that was stuck
            self._close()

    def _close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()
        self._stdout.close()

    def _reap(self) -> protocol.Exited | None:
        # Not Popen's own wait: it does not say how much memory the process has used.
        with self._reaping:
            pid, how, usage = os.wait4(self._process.pid, os.WNOHANG)
            if pid == 0:
                return None
            status = self._process.returncode = os.waitstatus_to_exitcode(how)
        return protocol.Exited(status, usage.ru_maxrss * host_memory.PEAK_UNIT)

    def _kill_group(self) -> None:
        self._killed_at = min(self._killed_at, time.monotonic())
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)


def environment(base: Mapping[str, str], *, threads: int) -> dict[str, str]:
    """What a child inherits: its share of cores, and no settings of ours (the envelope has them)
    nor of traces, which its supervisor tells and may need a secret for."""
    ours = ("HEADSTART_", "OTEL_")
    kept = {name: value for name, value in base.items() if not name.startswith(ours)}
    kept |= {name: base[name] for name in (crash_points.VARIABLE,) if name in base}
    pools = ("OMP", "MKL", "OPENBLAS", "NUMEXPR")
    return (
        kept
        | {f"{pool}_NUM_THREADS": str(threads) for pool in pools}
        # The same seed must lead to the same genotype: sets in one order, cuBLAS in one way.
        | {"PYTHONHASHSEED": "0", "CUBLAS_WORKSPACE_CONFIG": ":4096:8", "PYTHONUNBUFFERED": "1"}
    )
