"""The process that computes: `python -m core.execution.child`, started by a supervisor.

It reads one envelope from standard input, runs one pipeline, and says what happens as JSON lines
on a private copy of standard output. It never sees the database, and it dies when its supervisor
does.
"""

import importlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from threading import Lock, Thread
from typing import Any

from core.domain.jobs import JobKind
from core.domain.work import Outcome
from core.errors import AppError
from core.execution import compute, protocol
from core.execution.child_context import ChildContext
from core.pipelines.context import Context, Stopped
from core.services import wire

Pipeline = Callable[[Any, Context], Outcome]
OUT_OF_MEMORY = "out_of_memory"
# Said by torch with a plain RuntimeError when an allocation on the CPU fails.
NO_MEMORY = "DefaultCPUAllocator"


# Imported by name once the job's kind is known: each kind pays for its own libraries only.
PIPELINES: Mapping[JobKind, str] = {
    JobKind.EMBED: "core.pipelines.embed_dataset",
    JobKind.RANK: "core.pipelines.compare_datasets",
    JobKind.PRETRAIN: "core.pipelines.pretrain_supernet",
    JobKind.SEARCH: "core.pipelines.search_architecture",
}


class Channel:
    """The way back to the supervisor. Whatever else is printed goes to standard error."""

    def __init__(self) -> None:
        sys.stdout.flush()
        self._descriptor = os.dup(1)
        os.dup2(2, 1)
        self._lock = Lock()

    def say(self, event: protocol.Event) -> None:
        """Send one event."""
        line = memoryview(protocol.encode(event))
        with self._lock:
            try:
                while line:
                    line = line[os.write(self._descriptor, line) :]
            except BrokenPipeError:
                _leave()


def find(kind: JobKind) -> Pipeline:
    """The pipeline of a kind of job."""
    pipeline: Pipeline = importlib.import_module(PIPELINES[kind]).run
    return pipeline


def compute_one(
    envelope: protocol.Envelope,
    context: ChildContext,
    pipeline_of: Callable[[JobKind], Pipeline],
) -> protocol.Event:
    """Run the envelope's pipeline; how it ended, as the one last event."""
    try:
        pipeline = pipeline_of(envelope.kind)
        compute.settle(threads=envelope.threads)
        inputs = wire.load(protocol.INPUTS_OF[envelope.kind], envelope.inputs)
        return protocol.Finished(wire.dump(pipeline(inputs, context)))
    except Stopped:
        return protocol.Halted()
    except AppError as error:
        return protocol.Failed(error.stable_code, error.message)
    except Exception as error:  # noqa: BLE001 - the whole of it goes to the log, none to the user
        if _is_out_of_memory(error):
            message = "The work needed more memory than there is; try a smaller batch or space."
            return protocol.Failed(OUT_OF_MEMORY, message)
        return protocol.Failed(AppError.code, "", traceback.format_exc())


def main(pipeline_of: Callable[[JobKind], Pipeline] = find) -> None:
    """Compute one attempt at one job."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's to answer
    channel = Channel()
    with open(0, "rb", closefd=False) as stdin:
        envelope = protocol.unseal(stdin.readline())
    Thread(target=_die_with_supervisor, name="supervisor-watch", daemon=True).start()
    context = ChildContext(envelope, say=channel.say)
    signal.signal(signal.SIGTERM, lambda *_: context.stop())
    channel.say(compute_one(envelope, context, pipeline_of))


def _die_with_supervisor() -> None:
    # The pipe ends when its writer is gone, however it went: no orphan computes on.
    while os.read(0, 4096):
        pass
    _leave()


def _leave() -> None:
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)  # with everything this process has started
    os._exit(1)


def _is_out_of_memory(error: Exception) -> bool:
    # By name: the error of CUDA is torch's own class, and torch may not be loaded here.
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and NO_MEMORY in str(error))
    )


if __name__ == "__main__":
    main()
