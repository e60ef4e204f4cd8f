"""How a job row changes state: one guarded UPDATE, its event in the same transaction, and, when
it was the last child of a group to end, the end of the group too.

Whoever locks both locks children first, then their group; of several groups the lower id first.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, insert, select, update
from sqlalchemy.orm import Session, SessionTransaction

from core.db.clock import now
from core.db.job_tables import JobEventRow, JobRow, in_state
from core.domain.jobs import REACHABLE_FROM, TERMINAL, JobKind, JobState, QueueName
from core.errors import IllegalTransition, LeaseLost, NotFound
from core.services import outbox

SWEEPER = "sweeper"
WORKER_LOST = "worker_lost"
CHILDREN_FAILED = "children_failed"
NAMED = 5  # children that a group's failure lists
JITTER = 0.25  # the most that is added to a delay, as a share of it
LATEST = {"populate_existing": True}  # what the database says, not what this session saw before
MADE = "headstart_moves"  # in a session's `info`


@dataclass(frozen=True, slots=True)
class Moved:
    """One move, for whoever counts moves: what it was, and what it shows of the job."""

    kind: JobKind
    queue: QueueName
    origin: JobState | None
    to: JobState
    reason: str
    error_code: str | None = None
    cost_seconds: float = 0.0
    waited_seconds: float | None = None  # of a claim: since it might have been


def made(session: Session) -> list[Moved]:
    """The moves that this session has made so far, to be believed once it is committed."""
    return cast(list[Moved], session.info.setdefault(MADE, []))


@contextmanager
def attempt(session: Session) -> Iterator[SessionTransaction]:
    """A savepoint; where it is rolled back, the moves since are forgotten, too."""
    before, kept = len(made(session)), False
    try:
        with session.begin_nested() as savepoint:
            yield savepoint
            kept = savepoint.is_active
    finally:
        if not kept:
            del made(session)[before:]


def lease_lost() -> LeaseLost:
    """What every refused write of a former holder raises."""
    return LeaseLost("Another worker holds this job, or it has ended.")


def locked(session: Session, job_id: UUID) -> JobRow:
    """The row, kept from other writers until the transaction ends. Raises NotFound."""
    row = _first(session, select(JobRow).where(JobRow.id == job_id))
    if row is None:
        raise NotFound(f"There is no job {job_id}.")
    return row


def held(session: Session, job_id: UUID, fence: int) -> JobRow:
    """As `locked`, for the holder of the lease alone. Raises LeaseLost."""
    row = _first(session, select(JobRow).where(JobRow.id == job_id, holds(fence)))
    if row is None:
        raise lease_lost()
    return row


def holds(fence: int) -> ColumnElement[bool]:
    """True of the row whose lease has this fence."""
    return (JobRow.fence == fence) & in_state(JobState.RUNNING)


def move(
    session: Session,
    which: ColumnElement[bool],
    origin: JobState,
    to: JobState,
    *,
    reason: str,
    actor: str | None = None,
    changes: Mapping[str, Any] | None = None,
) -> JobRow | None:
    """Move the job that `which` names from `origin`; None when it is not there (any more).

    `actor` is the holder of the lease unless given.
    """
    if origin not in REACHABLE_FROM[to]:
        raise IllegalTransition(f"A job cannot go from {origin} to {to}.")
    values: dict[str, Any] = {"state": to, **(changes or {})}
    if to is not JobState.RUNNING:
        values |= {"lease_until": None, "eta_seconds": None}
    if to in TERMINAL:
        values["finished_at"] = now()
    if to is JobState.SUCCEEDED:  # an accepted cancel is a promise
        which &= ~JobRow.cancel_requested
    statement = update(JobRow).where(which, in_state(origin)).values(values).returning(JobRow)
    options = {**LATEST, "synchronize_session": False}
    row = session.scalars(statement, execution_options=options).one_or_none()
    if row is not None:
        note(session, row, origin, actor=actor or row.lease_owner or "", reason=reason)
        if to in TERMINAL and row.parent_id is not None:
            settle(session, row.parent_id)
    return row


def settle(session: Session, group_id: UUID) -> None:
    """End the group if all its children have ended; harmless at any other time.

    Two last children that end at once take turns at the group's row, and what is counted is
    counted after the lock: the second sees that the first has ended.
    """
    running = select(JobRow).where(JobRow.id == group_id, in_state(JobState.RUNNING))
    group = _first(session, running)
    children = JobRow.parent_id == group_id
    unfinished = select(JobRow.id).where(children, JobRow.state.not_in(TERMINAL)).limit(1)
    if group is None or session.scalar(unfinished) is not None:
        return
    fields = (JobRow.id, JobRow.state, JobRow.error_code, JobRow.cost_seconds)
    found = session.execute(select(*fields).where(children).order_by(JobRow.created_at)).all()
    failed = [each for each in found if each.state is not JobState.SUCCEEDED]
    changes: dict[str, Any] = {"cost_seconds": sum(each.cost_seconds for each in found)}
    if group.cancel_requested:
        to, reason = JobState.CANCELLED, "cancelled"
    elif failed:
        to, reason = JobState.FAILED, CHILDREN_FAILED
        named = [f"{each.id} ({each.error_code or each.state})" for each in failed[:NAMED]]
        more = f" and {len(failed) - NAMED} more" if len(failed) > NAMED else ""
        words = f"{len(failed)} of {len(found)} jobs did not succeed: {', '.join(named)}{more}."
        changes |= {"error_code": CHILDREN_FAILED, "error_message": words}
    else:
        to, reason = JobState.SUCCEEDED, "finished"
        changes |= {"result": {"jobs": len(found)}, "stage": "done", "progress": 1.0}
    which = JobRow.id == group_id
    move(session, which, JobState.RUNNING, to, reason=reason, changes=changes)


def note(
    session: Session, row: JobRow, origin: JobState | None, *, actor: str, reason: str
) -> None:
    """Append the event of a move that this transaction has made (so it holds the row)."""
    theirs = JobEventRow.job_id == row.id, JobEventRow.project_id == row.project_id
    count = select(func.count()).where(*theirs).scalar_subquery()
    event = {"from_state": origin, "to_state": row.state, "fence": row.fence}
    words = {"actor": actor, "reason": reason}
    owner = row.project_id  # a sweep's session is of no project
    session.execute(
        insert(JobEventRow).values(
            project_id=owner, job_id=row.id, seq=count + 1, at=now(), **event, **words
        )
    )
    outbox.job_moved(session, row, reason)
    made(session).append(_moved(row, origin, reason))


def give_back(
    session: Session, row: JobRow, *, reason: str, delay_seconds: float, charge: bool, actor: str
) -> JobRow:
    """End a locked running row's attempt: queued again, or cancelled or failed if that is due.

    What is queued again waits for the delay, spread.
    """
    spent = row.attempt >= row.max_attempts
    changes: dict[str, Any]
    if row.cancel_requested:
        to, changes = JobState.CANCELLED, {}
    elif charge and spent:
        message = f"Gave up after {row.attempt} attempts; the last one ended with: {reason}."
        to, changes = JobState.FAILED, {"error_code": WORKER_LOST, "error_message": message}
    else:
        to = JobState.QUEUED
        changes = {
            "attempt": row.attempt if charge else row.attempt - 1,
            "not_before": now(spread(delay_seconds, row.id, row.fence)),
            "resume_reason": reason,
            "lease_owner": None,
            "stage": "queued",
        }
    which = (JobRow.id == row.id) & (JobRow.fence == row.fence)
    moved = move(session, which, JobState.RUNNING, to, reason=reason, actor=actor, changes=changes)
    if moved is None:
        raise lease_lost()
    return moved


def delay_after(attempt: int, retry_delays: Sequence[float]) -> float:
    """How long to wait before the next attempt; the last delay repeats."""
    return retry_delays[min(attempt, len(retry_delays)) - 1] if retry_delays else 0.0


def spread(delay_seconds: float, job_id: UUID, fence: int) -> float:
    """The delay, longer by a share below `JITTER` that differs from attempt to attempt.

    Jobs that failed at one moment, when a server went away, do not come back at one moment.
    """
    digest = hashlib.sha256(f"{job_id}:{fence}".encode()).digest()
    return delay_seconds * (1 + JITTER * int.from_bytes(digest[:4]) / 2**32)


def _first(session: Session, statement: Select[JobRow]) -> JobRow | None:
    return session.scalars(statement.with_for_update(), execution_options=LATEST).first()


def _moved(row: JobRow, origin: JobState | None, reason: str) -> Moved:
    words = (row.kind, row.queue, origin, row.state, reason)
    if origin is None:  # the database has not been asked for the rest
        return Moved(*words)
    waited = None
    if row.state is JobState.RUNNING and row.heartbeat_at is not None:
        waited = (row.heartbeat_at - row.not_before).total_seconds()
    return Moved(*words, row.error_code, row.cost_seconds, waited)
