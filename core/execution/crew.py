"""The processes that compute one job together: the first starts the others and speaks for all.

The first is the supervisor's child. It starts the others by its own command, in its own process
group, with an envelope each, and is to them what the supervisor is to it: they die with it, in all
the ways of `core.execution.parting`. When one of them dies or fails, the first says why and takes
the whole group along, whatever it is waiting for.
"""

import contextlib
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from threading import Lock, Thread
from types import TracebackType
from typing import IO, Self, cast

from core import crash_points
from core.execution import failures, host_memory, parting, protocol

# What one fails at may be the echo of another's end, which is told of within so many seconds.
ECHO_SECONDS = 2.0


class Crew:
    """All the processes of an attempt; leaving the `with` block ends all but the first.

    Only the first starts any, and only where the envelope wants more than one. The thread that
    makes it must be the process's main one, which lives as long as it.
    """

    def __init__(
        self, envelope: protocol.Envelope, *, say: Callable[[protocol.Event], None]
    ) -> None:
        self._say = say
        self._said, self._left = False, False
        self._lock = Lock()
        self._failures: list[protocol.Failed] = []
        self._size = envelope.processes
        ranks = range(1, envelope.processes) if envelope.rank == 0 else ()
        self._others = [_start() for _ in ranks]
        for rank, process in zip(ranks, self._others, strict=True):
            Thread(target=self._listen, args=(process,), name=f"rank-{rank}", daemon=True).start()
            own = replace(envelope, rank=rank, supervisor=os.getpid())
            with contextlib.suppress(BrokenPipeError):  # it died at once; whoever listens will say
                stdin = cast(IO[bytes], process.stdin)
                stdin.write(protocol.seal(own))
                stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._left = True
        for process in self._others:
            process.kill()
        for process in self._others:
            process.wait()

    def conclude(self, ending: protocol.Event) -> None:
        """Say how the attempt has ended; of several failures, the one behind the others."""
        if self._others and isinstance(ending, protocol.Failed):
            ending = self._cause(ending)
        with self._lock:
            if not self._said:
                self._say(ending)
            self._said = True

    def _cause(self, failed: protocol.Failed) -> protocol.Failed:
        """The first failure that has a name: what follows from it has none."""
        self._failures.append(failed)
        time.sleep(ECHO_SECONDS)
        named = (each for each in self._failures if each.code != failures.INTERNAL)
        return next(named, self._failures[0])

    def _listen(self, process: "subprocess.Popen[bytes]") -> None:
        """Hear one of the others to its end; unless that was a good one, it is everybody's."""
        ending: protocol.Event | None = None
        for line in cast(IO[bytes], process.stdout):
            with contextlib.suppress(ValueError, KeyError, TypeError):  # cut short by a kill
                ending = protocol.decode(line)
                break  # it says one thing only, and may not get away after it
        if ending is None:
            ending = self._lost(process.wait())
        if isinstance(ending, protocol.Failed) and not self._left:
            self.conclude(ending)
            parting.leave()

    def _lost(self, status: int) -> protocol.Failed:
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * host_memory.PEAK_UNIT
        code = failures.of_exit(
            status, peak_bytes=peak * self._size, limit_bytes=host_memory.limit_bytes()
        )
        if code != failures.WORKER_LOST:
            return protocol.Failed(code, "")
        words = f"One of the job's computing processes was lost (exit status {status})."
        return protocol.Failed(code, words)


def _start() -> "subprocess.Popen[bytes]":
    environment = dict(os.environ)
    environment.pop(crash_points.VARIABLE, None)  # who is to die at a named point is the first
    return subprocess.Popen(
        sys.orig_argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
