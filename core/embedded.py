"""Everything in one process tree on one machine: SQLite, local files, slots that compute."""

import fcntl
import hashlib
import os
import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from core import bootstrap
from core.bootstrap import Container
from core.config import Settings
from core.db import schema
from core.domain.jobs import QueueName
from core.errors import Conflict
from core.execution import caches, collector, deliveries, mlflow_sender
from core.execution.supervisor import CHILD_COMMAND, Supervisor
from core.execution.sweeper import Sweeper
from core.queue.in_process import InProcessQueue
from core.services import jobs
from core.zoo import entry


@contextmanager
def embedded(
    settings: Settings, *, child_command: Sequence[str] = CHILD_COMMAND
) -> Iterator[Container]:
    """Serve and compute until the block ends; running jobs then go back to be resumed next time.

    Raises Conflict when another process uses the same home.
    """
    home = settings.home.absolute()
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _sole_user(home):
        shutil.rmtree(home / "scratch", ignore_errors=True)  # a killed predecessor's
        schema.migrate(settings.database)

        def run_next(queue: QueueName) -> bool:
            return supervisor.run_next(queue)

        slots = InProcessQueue(run_next, settings.slots)
        container = bootstrap.build(settings, queue=slots)
        supervisor = Supervisor(
            container.sessions,
            settings,
            f"{_owner_prefix(home)}{os.getpid()}",
            announce=slots.announce,
            child_command=child_command,
        )
        sessions, store = container.sessions, container.store
        sweeper = Sweeper(supervisor.sweep, slots.ring, seconds=settings.jobs.sweep)
        pruning = partial(collector.prune, sessions, store)
        pruner = Sweeper(pruning, seconds=settings.jobs.sweep)
        collecting = partial(collector.collect, sessions, store)
        tidying = partial(caches.tidy, sessions, home)
        tidier = Sweeper(collecting, tidying, seconds=collector.EVERY_SECONDS)
        try:
            with container.sessions.begin() as session:
                jobs.forget_owner(session, _owner_prefix(home))
            entry.enter_shipped(settings, sessions, store)
            slots.start()
            sweeper.start()
            pruner.start()
            tidier.start()
            with (
                deliveries.sending(settings, sessions),
                mlflow_sender.telling(settings, sessions, store),
            ):
                yield container
        finally:
            supervisor.drain()
            sweeper.stop()
            slots.stop()
            for each in (pruner, tidier):
                each.stop(patience=collector.STOP_SECONDS)
            container.close()


@contextmanager
def _sole_user(home: Path) -> Iterator[None]:
    # The kernel lets go of the lock when the process ends, however it ends.
    with (home / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict(
                f"Another Headstart process uses {home}. Stop it, or set HEADSTART_HOME."
            ) from error
        yield


def _owner_prefix(home: Path) -> str:
    # Of this home alone: a shared database may hold other machines' jobs as well.
    place = hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:12]
    return f"embedded:{socket.gethostname()}:{place}:"
