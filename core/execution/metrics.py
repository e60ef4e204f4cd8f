"""What this process counts for Prometheus, and how the queues stand by the database.

Counters are of this process alone, and of moves that were committed: over all processes they add
up to the rows. Labels are names that the code knows; never ids, nor anything a caller chose.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    start_http_server,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from sqlalchemy import Select, func, literal, select, union_all
from sqlalchemy.orm import Session

from core.db.clock import now
from core.db.job_tables import JobRow, in_state
from core.db.sessions import Sessions
from core.domain.jobs import TERMINAL, JobKind, JobState, QueueName
from core.errors import Unavailable
from core.services import uploads
from core.services.moves import MADE, Moved

CACHED_SECONDS = 5.0
PATIENCE_SECONDS = 2.0  # with a database that does not answer; whoever scrapes waits for ten

disable_created_metrics()  # type: ignore[no-untyped-call]
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

CREATED = Counter("headstart_jobs_created", "Jobs queued.", ["kind"], registry=REGISTRY)
FINISHED = Counter(
    "headstart_jobs_finished",
    "Jobs ended; the code is a failure's.",
    ["kind", "state", "code"],
    registry=REGISTRY,
)
REQUEUED = Counter(
    "headstart_jobs_requeued",
    "Running jobs that went back to their queue, by why.",
    ["kind", "reason"],
    registry=REGISTRY,
)
COMPUTED = Histogram(
    "headstart_job_seconds",
    "Seconds that a job which ended had been computed for, over all its attempts.",
    ["kind"],
    buckets=(1, 5, 15, 60, 300, 900, 3_600, 14_400, 43_200, 86_400),
    registry=REGISTRY,
)
WAITED = Histogram(
    "headstart_job_wait_seconds",
    "Seconds from when a job might be claimed until it was.",
    ["queue"],
    buckets=(0.1, 0.5, 1, 5, 15, 60, 300, 900, 3_600, 14_400),
    registry=REGISTRY,
)
LEASE_LOST = Counter(
    "headstart_lease_lost",
    "Attempts that ended because another worker had the job.",
    registry=REGISTRY,
)

log = structlog.stdlib.get_logger(__name__)


def _begin_at_zero() -> None:
    """What has not happened yet is told as 0: else its first time would be no increase."""
    for kind in JobKind:
        CREATED.labels(kind.value)
        for state in TERMINAL - {JobState.FAILED}:
            FINISHED.labels(kind.value, state.value, "")
        if kind is not JobKind.GROUP:
            COMPUTED.labels(kind.value)
    for queue in QueueName:
        WAITED.labels(queue.value)


_begin_at_zero()


def count(info: MutableMapping[Any, Any]) -> None:
    """Count the moves of a session that is committed; `Sessions.follow` takes this."""
    for move in info.pop(MADE, ()):
        _count(move)


def _count(move: Moved) -> None:
    kind = move.kind.value
    if move.origin is None:
        CREATED.labels(kind).inc()
    elif move.to in TERMINAL:
        FINISHED.labels(kind, move.to.value, move.error_code or "").inc()
        if move.kind is not JobKind.GROUP:  # its cost is its children's
            COMPUTED.labels(kind).observe(move.cost_seconds)
    elif move.to is JobState.QUEUED:
        REQUEUED.labels(kind, move.reason).inc()
    elif move.waited_seconds is not None:
        WAITED.labels(move.queue.value).observe(max(0.0, move.waited_seconds))


def serve(port: int, *, host: str) -> Callable[[], None]:
    """Answer scrapes of this process at a port of its own, until what is returned is called.

    A port that cannot be had is only logged: jobs are worth computing uncounted.
    """
    try:
        server, thread = start_http_server(port, addr=host, registry=REGISTRY)
    except OSError as error:
        log.error("metrics_port_unusable", host=host, port=port, error=error.strerror)
        return lambda: None
    log.info("metrics_served", host=host, port=port)

    def close() -> None:
        server.shutdown()
        thread.join()
        server.server_close()

    return close


@dataclass(frozen=True, slots=True)
class Standing:
    """How many jobs wait in each queue, the longest for how long, how many run; stored bytes."""

    depths: dict[QueueName, int]
    oldest: dict[QueueName, float]
    running: dict[QueueName, int]
    stored_bytes: int


def standing(session: Session) -> Standing:
    """The queues by one statement, groups (which nobody computes) left out."""
    found = Standing(
        depths=dict.fromkeys(QueueName, 0),
        oldest=dict.fromkeys(QueueName, 0.0),
        running=dict.fromkeys(QueueName, 0),
        stored_bytes=uploads.used_bytes(session),
    )
    both = union_all(_of(JobState.QUEUED), _of(JobState.RUNNING))
    for state, queue, number, since, at in session.execute(both):
        if state == JobState.RUNNING.value:
            found.running[queue] = number
        else:
            found.depths[queue] = number
            found.oldest[queue] = max(0.0, (at - since).total_seconds())
    return found


def _of(state: JobState) -> Select[str, QueueName, int, datetime, Any]:
    # In two halves, each by a partial index.
    fields = (literal(state.value), JobRow.queue, func.count(), func.min(JobRow.not_before), now())
    which = (in_state(state), JobRow.kind != JobKind.GROUP)
    return select(*fields).where(*which).group_by(JobRow.queue)


class Everything(Collector):
    """This process's counters and the installation's gauges, which every API process tells alike.

    The database is asked at most every `seconds`, however often anybody scrapes. One that does not
    answer in `patience` seconds leaves the gauges out, and the counters are told all the same.
    """

    def __init__(
        self,
        sessions: Sessions,
        *,
        seconds: float = CACHED_SECONDS,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._sessions = sessions
        self._seconds = seconds
        self._patience = patience
        self._turn = threading.Lock()
        self._asking: threading.Thread | None = None
        self._asked = 0.0
        self._last: Standing | None = None

    def collect(self) -> Iterator[Metric]:
        """All of them, as `prometheus_client.generate_latest` wants them."""
        yield from REGISTRY.collect()
        found = self._known()
        up = float(found is not None)
        yield GaugeMetricFamily("headstart_database_up", "Whether the database answers.", value=up)
        if found is None:
            return
        said = "Bytes of datasets, imported supernets and uploads in the store."
        yield GaugeMetricFamily("headstart_stored_bytes", said, value=found.stored_bytes)
        by_queue: dict[str, tuple[str, Mapping[QueueName, float]]] = {
            "headstart_queue_depth": ("Jobs that wait.", found.depths),
            "headstart_queue_oldest_seconds": ("Longest wait of one that may run.", found.oldest),
            "headstart_jobs_running": ("Jobs that somebody computes.", found.running),
        }
        for name, (words, values) in by_queue.items():
            family = GaugeMetricFamily(name, words, labels=["queue"])
            for queue, value in values.items():
                family.add_metric([queue.value], value)
            yield family

    def _known(self) -> Standing | None:
        with self._turn:
            idle = self._asking is None or not self._asking.is_alive()
            if idle and (not self._asked or time.monotonic() - self._asked >= self._seconds):
                self._asked, self._last = time.monotonic(), None
                self._asking = threading.Thread(target=self._ask, name="metrics", daemon=True)
                self._asking.start()
            asking = self._asking
        if asking is not None:
            asking.join(self._patience)
        return self._last

    def _ask(self) -> None:
        try:
            with self._sessions.read() as session:
                self._last = standing(session)
        except Unavailable:
            log.warning("queues_unknown")
        except Exception:  # the counters are worth telling whatever else is wrong
            log.exception("queues_unknown")
