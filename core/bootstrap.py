"""What every entry point needs, built from settings: database, store, queue, logging. No torch."""

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Semaphore
from typing import Any, Literal

import structlog

from core import tracing
from core.config import Settings
from core.db.sessions import Sessions
from core.ports import JobQueue, ObjectStore
from core.queue.celery_queue import CeleryQueue
from core.queue.hintless import HintlessQueue
from core.storage.select import store_of


@dataclass(frozen=True, slots=True)
class Container:
    """The outside world as one process sees it; `intakes` lets few archives be read at once, and
    `fetches` few files be fetched from a bucket."""

    settings: Settings
    sessions: Sessions
    store: ObjectStore
    queue: JobQueue
    closers: tuple[Callable[[], None], ...] = ()
    intakes: Semaphore = field(default_factory=Semaphore)
    fetches: Semaphore = field(default_factory=Semaphore)

    def close(self) -> None:
        """Let every connection go."""
        for closer in self.closers:
            closer()


def build(settings: Settings, *, queue: JobQueue | None = None) -> Container:
    """The container for serving; nothing is contacted yet.

    Hints go through `queue` if given, else through Redis if there is one, else nowhere.
    """
    sessions = Sessions(settings.database)
    closers: tuple[Callable[[], None], ...] = (sessions.dispose,)
    if queue is None and settings.redis_url:
        celery = CeleryQueue(settings.redis_url)
        queue, closers = celery, (*closers, celery.close)
    store, queue = store_of(settings), queue or HintlessQueue()
    turns = (Semaphore(settings.uploads.at_once) for _ in range(2))
    return Container(settings, sessions, store, queue, closers, *turns)


def configure_logging(log_format: Literal["console", "json"]) -> None:
    """Send everything that is logged, ours and the libraries', to standard error in one shape.

    Called once, by entry points alone. What a user typed is only ever the value of a field, so
    that it cannot pass for a line of its own.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        tracing.stamp,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    plain = structlog.dev.plain_traceback  # the other kind shows local variables, secrets too
    colors = sys.stderr.isatty()
    last: list[Any] = [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)]
    if log_format == "json":
        last = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
