"""Sends what webhooks are to be told, beside whatever else a process does.

Any number of processes may: a message is taken under a lease, and again when that ends.
"""

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import Event

import structlog
from prometheus_client import Counter

from core import crash_points
from core.config import Settings
from core.db.sessions import Sessions
from core.domain.webhooks import Attempt, Fault, Outcome, Outgoing
from core.errors import Unavailable
from core.execution.collector import STOP_SECONDS
from core.execution.courier import TOTAL_SECONDS, Courier
from core.execution.metrics import REGISTRY
from core.execution.reach import Reach
from core.execution.sweeper import Sweeper
from core.services import outbox
from core.services.sealing import Seal

EVERY_SECONDS = 1.0
AT_ONCE, IN_TURN = 8, 4  # messages on their way, and rounds of so many that are taken together
LEASE_SECONDS = 30.0 + IN_TURN * TOTAL_SECONDS  # with time to note the outcomes

SENT = Counter(
    "headstart_webhook_attempts",
    "Attempts to deliver a message, by what became of it.",
    ["outcome"],
    registry=REGISTRY,
)
for _outcome in outbox.OUTCOMES:
    SENT.labels(_outcome)

log = structlog.stdlib.get_logger(__name__)


@contextmanager
def sending(settings: Settings, sessions: Sessions) -> Iterator[None]:
    """Send while the block runs, where the operator wants anything sent."""
    if settings.secret_key is None or not settings.webhooks.enabled:
        yield
        return
    sender = Sender(sessions, Courier(Reach.of(settings), Seal(settings.secret_key)))
    rounds = Sweeper(sender.empty, seconds=EVERY_SECONDS)
    rounds.start()
    try:
        yield
    finally:
        sender.stop()
        rounds.stop(patience=STOP_SECONDS)


class Sender:
    """Takes messages from the database and has the courier carry them."""

    def __init__(self, sessions: Sessions, courier: Courier) -> None:
        self._sessions, self._courier = sessions, courier
        self._stopping = Event()

    def stop(self) -> None:
        """Take nothing more."""
        self._stopping.set()

    def empty(self) -> None:
        """Send what is due until nothing is."""
        while not self._stopping.is_set() and (messages := self._taken()):
            asyncio.run(self._send(messages))

    def _taken(self) -> tuple[Outgoing, ...]:
        with self._sessions.read() as session:  # mostly nothing, and then nobody's lock is taken
            if not outbox.any_due(session):
                return ()
        with self._sessions.begin() as session:
            return outbox.claim(session, limit=AT_ONCE * IN_TURN, lease_seconds=LEASE_SECONDS)

    async def _send(self, messages: tuple[Outgoing, ...]) -> None:
        gate = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for each in messages:
                group.create_task(self._carry(gate, each))

    async def _carry(self, gate: asyncio.Semaphore, message: Outgoing) -> None:
        async with gate:
            try:
                outcome = await self._courier.deliver(message)
            except Exception:  # a bug that one receiver brings out must not end the others'
                log.exception("delivery_broken", delivery=str(message.id))
                outcome = Outcome(Attempt(datetime.now(UTC), 0.0, None, Fault.BROKEN))
            crash_points.reach("before_note")
            await asyncio.to_thread(self._note, message, outcome)

    def _note(self, message: Outgoing, outcome: Outcome) -> None:
        try:
            with self._sessions.begin() as session:
                became = outbox.note(session, message, outcome, luck=random.random())
        except Unavailable:  # sent again when the lease is over
            log.warning("delivery_not_noted", delivery=str(message.id))
            return
        if became is not None:
            SENT.labels(became).inc()
