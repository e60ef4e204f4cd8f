"""What a worker process holds from its start to its end."""

import os
import socket
from collections.abc import Callable, Collection, Sequence
from typing import Any

from celery import bootsteps, signals
from celery.concurrency import solo
from celery.exceptions import ImproperlyConfigured

from core import bootstrap, tracing
from core.config import Settings
from core.domain.jobs import QueueName
from core.execution import caches, collector, metrics
from core.execution.supervisor import Supervisor
from core.execution.sweeper import Sweeper
from core.queue.in_process import InProcessQueue
from worker.beat import Beat


class Lifecycle:
    """Slots that claim and run jobs beside Celery's consumer, which only wakes them.

    They look at every `sweep` too, and begin before the consumer first tries to reach its broker:
    a worker needs the database alone.
    """

    def __init__(self, settings: Settings, *, child_command: Sequence[str]) -> None:
        self._settings = settings
        self._command = tuple(child_command)
        self._queues: tuple[QueueName, ...] = ()
        self._rung = 0

    def begin(self, queues: Collection[QueueName], slots: int) -> None:
        """Look for work in these queues, `slots` jobs at a time."""
        self._queues = tuple(queue for queue in QueueName if queue in queues)
        tracing.begin()
        self._container = bootstrap.build(self._settings)
        self._silence = self._tell()
        self._supervisor = Supervisor(
            self._container.sessions,
            self._settings,
            f"worker:{socket.gethostname()}:{os.getpid()}",
            announce=self._container.queue.announce,
            child_command=self._command,
        )
        self._slots = InProcessQueue(self._run_next, slots)
        sweep, seconds = self._supervisor.sweep, self._settings.jobs.sweep
        self._sweeper = Sweeper(sweep, self._turn, seconds=seconds)
        # Apart: a store that is silent must not keep the others waiting.
        self._pruner = Sweeper(self._prune, seconds=seconds)
        self._tidier = Sweeper(self._tidy, seconds=collector.EVERY_SECONDS)
        self._slots.start()
        self._sweeper.start()
        self._pruner.start()
        self._tidier.start()

    def look(self) -> None:
        """Wake the slots, and come back as soon as one is free."""
        self._slots.settle(self._slots.ring())

    def drain(self) -> None:
        """Take nothing more. Only sets a flag: it is called from a signal handler."""
        self._supervisor.drain()

    def end(self) -> None:
        """Give the running jobs back and let everything go."""
        self.drain()
        self._sweeper.stop()
        self._slots.stop()
        for each in (self._pruner, self._tidier):
            each.stop(patience=collector.STOP_SECONDS)
        self._silence()
        self._container.close()
        tracing.end()

    def _tell(self) -> Callable[[], None]:
        self._container.sessions.follow(metrics.count)
        port = self._settings.metrics_port
        if port is None:
            return lambda: None
        # As the API: nobody is asked who they are, so strangers reach it only if that is said.
        host = "0.0.0.0" if self._settings.allow_unauthenticated_network else "127.0.0.1"
        return metrics.serve(port + (self._settings.worker_place or 0), host=host)

    def _run_next(self, queue: QueueName) -> bool:
        return queue in self._queues and self._supervisor.run_next(queue)

    def _prune(self) -> None:
        collector.prune(self._container.sessions, self._container.store)

    def _tidy(self) -> None:
        caches.tidy(self._container.sessions, self._settings.home)

    def _turn(self) -> None:
        idle = self._slots.answered(self._rung)  # a slot found nothing more since the last turn
        beat = Beat.now(self._queues, idle=idle, quarantined=self._supervisor.quarantined)
        beat.write(self._settings.home, self._settings.worker_place)
        self._rung = self._slots.ring()


def attach(lifecycle: Lifecycle) -> type[bootsteps.StartStopStep]:
    """The worker's step that begins and ends this; the signals that it follows meanwhile."""

    class Claiming(bootsteps.StartStopStep):  # type: ignore[misc]
        """Starts after the pool and before the consumer, which waits for a broker."""

        requires = ("celery.worker.components:Pool",)

        def __init__(self, worker: Any, **options: Any) -> None:
            if worker.pool_cls is not solo.TaskPool:
                raise ImproperlyConfigured(
                    "This worker starts its own children and needs no pool: leave --pool out, "
                    "and give --concurrency N for N jobs at a time."
                )
            super().__init__(worker, **options)

        def start(self, worker: Any) -> None:
            queues = [QueueName(name) for name in worker.app.amqp.queues.consume_from]
            lifecycle.begin(queues, worker.concurrency)

        def stop(self, worker: Any) -> None:  # noqa: ARG002
            lifecycle.end()

    # Inside a signal handler: set the flag and return.
    signals.worker_shutting_down.connect(lambda **_: lifecycle.drain(), weak=False)
    return Claiming
