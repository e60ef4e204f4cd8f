"""One request, one job: a client that lost the answer asks again under the same key.

The key is committed with the job, so neither is ever there without the other.
"""

import hashlib
import json
from collections.abc import Callable

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from core.db import locks, upserts
from core.db.clock import now
from core.db.job_tables import IdempotencyKeyRow
from core.domain.jobs import Job
from core.errors import Conflict, InvalidInput
from core.services import jobs, moves, wire

KEPT_SECONDS = 24 * 3600.0  # the least that a client may count on
PATIENCE_SECONDS = 5.0  # for a request under the same key that has not been answered yet


def once(
    session: Session, key: str | None, *, asked: object, make: Callable[[], Job]
) -> tuple[Job, bool]:
    """The job that `make` queues, or that an earlier request under this key did; whether earlier.

    `asked` is everything the request asks for. Without a key each request makes a job. Raises
    InvalidInput (`idempotency_key_reused`) when the key stands for another request, and Conflict
    (`idempotency_key_in_flight`) when that of another has neither failed nor succeeded in time.
    """
    if key is None:
        return make(), False
    asked_sha256 = _sha256(asked)
    if (known := _known(session, key, asked_sha256)) is not None:
        return known, True
    with moves.attempt(session) as attempt:
        job = make()
        if _taken(session, key, asked_sha256, job):
            return job, False
        attempt.rollback()  # who asked at the same moment was sooner
    known = _known(session, key, asked_sha256)
    if known is None:  # forgotten meanwhile
        raise _in_flight()
    return known, True


def forget(session: Session, older_than: float = KEPT_SECONDS) -> int:
    """Let go of the keys that are older than so many seconds; how many."""
    if older_than < KEPT_SECONDS:
        raise ValueError(f"clients count on their keys for {KEPT_SECONDS:.0f} seconds")
    old = delete(IdempotencyKeyRow).where(IdempotencyKeyRow.created_at < now(-older_than))
    return len(session.scalars(old.returning(IdempotencyKeyRow.key)).all())


def _known(session: Session, key: str, asked_sha256: str) -> Job | None:
    row = session.scalars(select(IdempotencyKeyRow).where(IdempotencyKeyRow.key == key)).first()
    if row is None:
        return None
    if row.request_sha256 != asked_sha256:
        message = "This Idempotency-Key stands for another request: take a new key for each."
        raise InvalidInput(message, code="idempotency_key_reused")
    return jobs.get(session, row.job_id)


def _taken(session: Session, key: str, asked_sha256: str, job: Job) -> bool:
    """Whether the key is this job's now. Waits for a request that took it and is not done."""
    row = {"key": key, "request_sha256": asked_sha256, "job_id": job.id}
    try:
        with locks.patience(session, PATIENCE_SECONDS):
            upserts.insert_or_keep(session, IdempotencyKeyRow, [row])
    except locks.Held as error:
        raise _in_flight() from error
    mine = IdempotencyKeyRow.key == key, IdempotencyKeyRow.job_id == job.id
    return bool(session.scalar(select(func.count()).where(*mine)))


def _in_flight() -> Conflict:
    message = "A request with this Idempotency-Key is being worked on: ask again in a moment."
    return Conflict(message, code="idempotency_key_in_flight")


def _sha256(asked: object) -> str:
    text = json.dumps(wire.dump(asked), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
