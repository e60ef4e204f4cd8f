"""What a worker process holds from its start to its end."""

import os
import socket
from collections.abc import Sequence
from functools import cached_property

from celery import signals

from core import bootstrap
from core.bootstrap import Container
from core.config import Settings
from core.execution.supervisor import Supervisor
from core.execution.sweeper import Sweeper


class Lifecycle:
    """Container, supervisor and sweeper of this process; made after any fork, on first use."""

    def __init__(self, settings: Settings, *, child_command: Sequence[str]) -> None:
        self._settings = settings
        self._command = tuple(child_command)

    @cached_property
    def container(self) -> Container:
        """Database, store and queue."""
        return bootstrap.build(self._settings)

    @cached_property
    def supervisor(self) -> Supervisor:
        """Runs this worker's jobs."""
        owner = f"worker:{socket.gethostname()}:{os.getpid()}"
        return Supervisor(
            self.container.sessions,
            self._settings,
            owner,
            announce=self.container.queue.announce,
            child_command=self._command,
        )

    @cached_property
    def sweeper(self) -> Sweeper:
        """Looks after lost jobs and lost hints."""
        return Sweeper(self.supervisor.sweep, seconds=self._settings.jobs.sweep)

    def attach(self) -> None:
        """Follow Celery's signals."""
        followers = {
            signals.setup_logging: self._set_up_logging,
            signals.worker_ready: self._begin,
            signals.worker_shutting_down: self._drain,
            signals.worker_shutdown: self._end,
        }
        for signal, follower in followers.items():
            signal.connect(follower, weak=False)

    def _set_up_logging(self, **_: object) -> None:
        bootstrap.configure_logging(self._settings.log_format)

    def _begin(self, **_: object) -> None:
        self.sweeper.start()

    def _drain(self, **_: object) -> None:
        # Inside a signal handler: set the flag and return. Celery waits for the running task.
        self.supervisor.drain()

    def _end(self, **_: object) -> None:
        self.sweeper.stop()
        self.container.close()
