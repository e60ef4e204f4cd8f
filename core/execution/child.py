"""The process that computes: `python -m core.execution.child`, started by a supervisor.

It reads one envelope from standard input, runs one pipeline, and says what happens as JSON lines
on a private copy of standard output. It never sees the database, and it dies when its supervisor
does (`core.execution.parting`). It may start others like itself, to compute the job together
(`core.execution.crew`).
"""

import gc
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any

from core import crash_points
from core.domain.jobs import JobKind
from core.domain.work import Outcome
from core.errors import AppError
from core.execution import child_log, compute, failures, parting, protocol
from core.execution.child_context import ChildContext, FollowerContext
from core.execution.crew import Crew
from core.pipelines.context import Context, Stopped
from core.services import wire

Pipeline = Callable[[Any, Context], Outcome]
# Imported by name once the job's kind is known: each kind pays for its own libraries only.
PIPELINES: Mapping[JobKind, str] = {
    JobKind.INGEST: "core.pipelines.ingest_uploads",
    JobKind.EMBED: "core.pipelines.embed_dataset",
    JobKind.RANK: "core.pipelines.compare_datasets",
    JobKind.PRETRAIN: "core.pipelines.pretrain_supernet",
    JobKind.SEARCH: "core.pipelines.search_architecture",
    JobKind.PRUNE: "core.pipelines.prune_architecture",
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
                parting.leave()


def find(kind: JobKind) -> Pipeline:
    """The pipeline of a kind of job."""
    gc.disable()  # what libraries make stays: to look for garbage among it only takes time
    try:
        pipeline: Pipeline = importlib.import_module(PIPELINES[kind]).run
    finally:
        gc.freeze()
        gc.enable()
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
    except Exception as error:  # noqa: BLE001 - the whole of it goes to the log, none to the user
        code, message = failures.of_error(error)
        foreseen = isinstance(error, AppError)
        return protocol.Failed(code, message, "" if foreseen else traceback.format_exc())


def main(pipeline_of: Callable[[JobKind], Pipeline] = find) -> None:
    """Compute one attempt at one job."""
    parting.die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's to answer
    with open(0, "rb", closefd=False) as stdin:
        envelope = protocol.unseal(stdin.readline())
    if os.getppid() != envelope.supervisor:  # it died before the kernel was told to tell
        parting.leave()
    with parting.watched():
        channel = Channel()
        if envelope.rank == 0 and envelope.kind is not JobKind.INGEST:  # which tells of its files
            child_log.pass_on(channel.say)
        kind = FollowerContext if envelope.rank else ChildContext
        context = kind(envelope, say=channel.say)
        signal.signal(signal.SIGTERM, lambda *_: context.stop())
        with Crew(envelope, say=channel.say) as crew:
            last_word = compute_one(envelope, context, pipeline_of)
            crash_points.reach("before_last_word")
            crew.conclude(last_word)


if __name__ == "__main__":
    main()
    os._exit(0)  # what is to be kept is kept by now; to take torch apart again takes half a second
