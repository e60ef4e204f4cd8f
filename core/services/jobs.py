"""Every change to a job: submitted, claimed, kept alive, ended. `moves` holds the mechanics.

A worker proves itself by the fence it was given at its claim. Time is the database's own. Nothing
here commits: the caller's transaction decides.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Text, cast, func, or_, select, update
from sqlalchemy.orm import Session

from core.db import documents, types
from core.db.clock import now
from core.db.job_tables import CheckpointRow, JobEventRow, JobRecordRow, JobRow, in_state
from core.db.upserts import insert_or_update
from core.domain.jobs import (
    QUEUE_OF,
    TERMINAL,
    Checkpoint,
    Job,
    JobEvent,
    JobId,
    JobKind,
    JobRecord,
    JobState,
    Progress,
    QueueName,
)
from core.errors import (
    CancelRequested,
    DeadlinePassed,
    Detail,
    IllegalTransition,
    InvalidInput,
    NotFound,
)
from core.services import fanout, moves, paging
from core.services.paging import Order

CLIENT = "client"
AT_ONCE = 100  # jobs that one sweep moves: its transaction stays short
DEADLINE_PASSED = "The deadline had passed before a worker could go on with it."
MOST_URGENT = 100  # and the least urgent is its negative


def submit(
    session: Session,
    *,
    kind: JobKind,
    spec: Mapping[str, Any],
    dataset_id: UUID | None,
    priority: int = 0,
    max_attempts: int = 3,
    parent_id: UUID | None = None,
) -> Job:
    """Queue a job. A higher `priority` is claimed sooner; equals go in order of arrival.

    Raises InvalidInput for a priority beyond `MOST_URGENT` either way.
    """
    if max_attempts < 1:
        raise ValueError("max_attempts is at least 1")
    if abs(priority) > MOST_URGENT:
        message = f"Give a priority from {-MOST_URGENT} to {MOST_URGENT}; most jobs have 0."
        raise InvalidInput(message, details=[Detail("priority", "invalid", message)])
    row = JobRow(
        kind=kind,
        queue=QUEUE_OF[kind],
        priority=priority,
        state=JobState.QUEUED,
        stage="queued",
        max_attempts=max_attempts,
        spec=spec,
        dataset_id=dataset_id,
        parent_id=parent_id,
    )
    session.add(row)
    session.flush()
    moves.note(session, row, None, actor=CLIENT, reason="submitted")
    if kind is JobKind.GROUP:
        fanout.begin(session, row.id)
    session.refresh(row)
    return row.to_domain()


def get(session: Session, job_id: UUID) -> Job:
    """The job as it is now. Raises NotFound."""
    found = select(JobRow).where(JobRow.id == job_id)
    row = session.scalars(found, execution_options=moves.LATEST).first()
    if row is None:
        raise unknown(job_id)
    return row.to_domain()


def several(session: Session, ids: Collection[UUID]) -> tuple[Job, ...]:
    """Those among these jobs that there are, as they are now."""
    found = select(JobRow).where(JobRow.id.in_(ids))
    rows = session.scalars(found, execution_options=moves.LATEST)
    return tuple(row.to_domain() for row in rows)


def unknown(job_id: UUID) -> NotFound:
    """What is raised of a job that does not exist."""
    return NotFound(f"There is no job {job_id}.")


def listing(
    session: Session,
    *,
    limit: int,
    after: str | None = None,
    order: Order = "newest",
    kind: JobKind | None = None,
    states: Collection[JobState] = (),
    dataset_id: UUID | None = None,
    parent_id: UUID | None = None,
    created_after: datetime | None = None,
    created_before: datetime | None = None,
    labels: Mapping[str, str] = MappingProxyType({}),
) -> tuple[tuple[Job, ...], str | None]:
    """A page of jobs, and the token of the next: of any of these states, created at the one
    moment or later, and before the other, with all of these labels. Raises InvalidInput."""
    wanted = {"kind": kind, "dataset_id": dataset_id, "parent_id": parent_id}
    statement = select(JobRow).filter_by(**{k: v for k, v in wanted.items() if v is not None})
    if states:
        statement = statement.where(JobRow.state.in_(states))
    if created_after is not None:
        statement = statement.where(JobRow.created_at >= created_after)
    if created_before is not None:
        statement = statement.where(JobRow.created_at < created_before)
    for name, value in labels.items():
        statement = statement.where(types.word(JobRow.spec, "labels", name) == value)
    by = paging.sorted_by(JobRow, order)
    rows, token = paging.page(session, statement, by=by, limit=limit, after=after, order=order)
    return tuple(row[0].to_domain() for row in rows), token


def claim(session: Session, *, queue: QueueName, owner: str, lease_seconds: float) -> Job | None:
    """Take the most urgent job that waits in the queue, if any; its fence is the claimant's."""
    next_id = (
        select(JobRow.id)
        .where(in_state(JobState.QUEUED), JobRow.queue == queue, JobRow.not_before <= now())
        .order_by(JobRow.priority.desc(), JobRow.created_at, JobRow.id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    changes = {
        "attempt": JobRow.attempt + 1,
        "fence": JobRow.fence + 1,
        "stage": "starting",
        "started_at": func.coalesce(JobRow.started_at, now()),
        # From the first moment, so that no lease can lack the time at which it ends.
        "heartbeat_at": now(),
        "lease_until": now(lease_seconds),
        "lease_owner": owner,
    }
    which = JobRow.id == next_id
    row = moves.move(
        session, which, JobState.QUEUED, JobState.RUNNING, reason="claimed", changes=changes
    )
    return None if row is None else row.to_domain()


def beat(
    session: Session,
    job_id: UUID,
    fence: int,
    *,
    lease_seconds: float,
    cost_seconds: float,
    progress: Progress | None,
) -> bool:
    """Renew the lease and say how far the work is; whether a cancel was asked for.

    `cost_seconds` is the job's total so far, over all its attempts. Raises LeaseLost.
    """
    values: dict[str, Any] = {
        "heartbeat_at": now(),
        "lease_until": now(lease_seconds),
        "cost_seconds": cost_seconds,
        **_progress(progress),
    }
    mine = update(JobRow).where(JobRow.id == job_id, moves.holds(fence)).values(values)
    requested = session.scalars(mine.returning(JobRow.cancel_requested)).one_or_none()
    if requested is None:
        raise moves.lease_lost()
    return requested


def cancel_requested(session: Session, job_id: UUID, fence: int) -> bool:
    """As `beat` answers, by reading alone: cheap enough to ask between beats. Raises LeaseLost."""
    mine = select(JobRow.cancel_requested).where(JobRow.id == job_id, moves.holds(fence))
    requested = session.scalars(mine).one_or_none()
    if requested is None:
        raise moves.lease_lost()
    return requested


def add_records(session: Session, job_id: UUID, fence: int, records: Sequence[JobRecord]) -> None:
    """Write lines of history; a stage and step written before is replaced. Raises LeaseLost."""
    project_id = moves.held(session, job_id, fence).project_id
    if not records:
        return
    # The last of two with one key: a single statement may not touch a row twice.
    latest = {(record.stage, record.step): record for record in records}
    rows = [
        {"project_id": project_id, "job_id": job_id, "fence": fence, "at": at}
        | {"stage": record.stage, "step": record.step, "values": record.values}
        for at in [session.scalar(select(now()))]
        for record in latest.values()
    ]
    insert_or_update(session, JobRecordRow, rows)


def records(session: Session, job_id: UUID, *, stage: str | None = None) -> tuple[JobRecord, ...]:
    """The job's history, in the order it was written."""
    row = JobRecordRow
    statement = select(row).where(row.job_id == job_id).order_by(row.at, row.stage, row.step)
    if stage is not None:
        statement = statement.where(row.stage == stage)
    found = session.scalars(statement, execution_options=moves.LATEST)
    return tuple(item.to_domain() for item in found)


def add_checkpoint(session: Session, job_id: UUID, fence: int, checkpoint: Checkpoint) -> None:
    """Make known a state to resume from. Raises LeaseLost."""
    if checkpoint.fence != fence:
        raise ValueError("a checkpoint carries the fence of the attempt that wrote it")
    row = {"job_id": job_id, "fence": fence, "step": checkpoint.step, "key": checkpoint.key}
    row["project_id"] = moves.held(session, job_id, fence).project_id
    size = {"sha256": checkpoint.sha256, "size": checkpoint.size}
    at = session.scalar(select(now()))
    insert_or_update(session, CheckpointRow, [{**row, **size, "at": at}])


def checkpoints(session: Session, job_id: UUID) -> tuple[Checkpoint, ...]:
    """The states to resume from, newest first."""
    row = CheckpointRow
    statement = select(row).where(row.job_id == job_id)
    newest = statement.order_by(row.fence.desc(), row.step.desc())
    return tuple(item.to_domain() for item in session.scalars(newest))


def finish(session: Session, job_id: UUID, fence: int, result: Mapping[str, Any]) -> Job:
    """Succeed: the one commit that makes a result visible. Raises LeaseLost, CancelRequested.

    After either the transaction must be rolled back, and after the second `mark_cancelled` is due.
    The same holder may say it again (its first commit's answer may have been lost).
    """
    changes = {"result": result, "stage": "done", "progress": 1.0}
    row = _move_mine(session, job_id, fence, JobState.SUCCEEDED, "finished", changes)
    if row is not None:
        return row.to_domain()
    said = (JobRow.id == job_id) & (JobRow.fence == fence)
    row = session.scalars(select(JobRow).where(said), execution_options=moves.LATEST).first()
    if row is not None and row.state is JobState.RUNNING and row.cancel_requested:
        raise CancelRequested("This job was asked to stop: it can no longer succeed.")
    if row is None or row.state is not JobState.SUCCEEDED or row.result != documents.dump(result):
        raise moves.lease_lost()
    return row.to_domain()


def fail(session: Session, job_id: UUID, fence: int, code: str, message: str) -> Job:
    """End for good with a stable code and a sentence for people. Raises LeaseLost.

    A job that was asked to stop becomes cancelled; the code is then its last event's reason.
    """
    to, changes = JobState.FAILED, {"error_code": code, "error_message": message}
    if moves.held(session, job_id, fence).cancel_requested:
        to, changes = JobState.CANCELLED, {}
    row = _move_mine(session, job_id, fence, to, code, changes)
    if row is None:  # locked above: cannot happen
        raise moves.lease_lost()
    return row.to_domain()


def mark_cancelled(session: Session, job_id: UUID, fence: int) -> Job:
    """The worker has stopped as it was asked to. Raises LeaseLost."""
    row = _move_mine(session, job_id, fence, JobState.CANCELLED, "cancelled", {})
    if row is None:
        raise moves.lease_lost()
    return row.to_domain()


def release(
    session: Session,
    job_id: UUID,
    fence: int,
    *,
    reason: str,
    delay_seconds: float,
    charge: bool,
) -> Job:
    """Give the job back unfinished. Raises LeaseLost.

    Without `charge` the attempt does not count. With it, and none left, the job has failed
    (`worker_lost`). A job that was asked to stop becomes cancelled either way.
    """
    row = moves.held(session, job_id, fence)
    actor = row.lease_owner or ""
    terms: dict[str, Any] = {"delay_seconds": delay_seconds, "charge": charge}
    return moves.give_back(session, row, reason=reason, actor=actor, **terms).to_domain()


def cancel(session: Session, job_id: UUID) -> Job:
    """Cancel what waits; ask what runs to stop. Of a group, every child that has not ended.

    May be said again. Raises NotFound, and IllegalTransition for what has succeeded or failed.
    """
    children = fanout.locked_children(session, job_id)
    row = moves.locked(session, job_id)
    job = row.to_domain()
    if job.state is JobState.CANCELLED:
        return job
    if job.finished:
        raise IllegalTransition(f"This job has already ended ({job.state}); nothing to cancel.")
    if job.state is JobState.QUEUED:
        which = JobRow.id == job_id
        words: dict[str, Any] = {"reason": "cancelled", "actor": CLIENT}
        moved = moves.move(session, which, job.state, JobState.CANCELLED, **words)
        if moved is None:  # locked above: cannot happen
            raise IllegalTransition("The job moved meanwhile; try again.")
        return moved.to_domain()
    row.cancel_requested = True
    session.flush()
    if row.kind is JobKind.GROUP:
        for child_id in children:
            cancel(session, child_id)
        moves.settle(session, job_id)
        session.refresh(row)
    return row.to_domain()


def reap(session: Session, *, retry_delays: Sequence[float]) -> tuple[Job, ...]:
    """Take back the jobs whose lease ran out, by the database's clock; each attempt counts."""
    expired = JobRow.lease_until < now()
    taken = _take_back(session, expired, reason=moves.WORKER_LOST, retry_delays=retry_delays)
    expire(session)
    fanout.settle_left(session, limit=AT_ONCE)
    return taken


def expire(session: Session) -> None:
    """Fail the jobs that have waited past their deadline."""
    said = types.word(JobRow.spec, "deadline")
    waiting = select(JobRow.id, said).where(in_state(JobState.QUEUED), said.is_not(None))
    moment = session.scalars(select(now())).one()
    late = [id_ for id_, at in session.execute(waiting) if datetime.fromisoformat(at) <= moment]
    changes = {"error_code": DeadlinePassed.code, "error_message": DEADLINE_PASSED}
    for id_ in late[:AT_ONCE]:
        words: dict[str, Any] = {"reason": DeadlinePassed.code, "actor": moves.SWEEPER}
        which = JobRow.id == id_
        moves.move(session, which, JobState.QUEUED, JobState.FAILED, changes=changes, **words)


def forget_owner(session: Session, owner_prefix: str) -> tuple[Job, ...]:
    """Take back at once what a dead owner held; only for who knows that it is dead."""
    if not owner_prefix:
        raise ValueError("an empty prefix would name every owner")
    # Not LIKE: SQLite's would not tell A from a.
    theirs = func.substr(JobRow.lease_owner, 1, len(owner_prefix)) == owner_prefix
    taken: list[Job] = []
    while batch := _take_back(session, theirs, reason=moves.WORKER_LOST, retry_delays=()):
        taken += batch
    return tuple(taken)


def unfinished(session: Session, *, naming: UUID) -> tuple[JobId, ...]:
    """The jobs yet to end whose request names this id: of a dataset, say, or of an upload.

    Without groups: what is left to do of one is its children's.
    """
    said = cast(JobRow.spec, Text).contains(str(naming), autoescape=True)
    named = or_(JobRow.dataset_id == naming, said)
    live = JobRow.state.not_in(TERMINAL) & (JobRow.kind != JobKind.GROUP)
    found = session.scalars(select(JobRow.id).where(live, named).order_by(JobRow.created_at))
    return tuple(map(JobId, found))


def events(session: Session, job_id: UUID) -> tuple[JobEvent, ...]:
    """Every move the job has made, oldest first."""
    row = JobEventRow
    statement = select(row).where(row.job_id == job_id).order_by(row.seq)
    return tuple(item.to_domain() for item in session.scalars(statement))


def _move_mine(
    session: Session,
    job_id: UUID,
    fence: int,
    to: JobState,
    reason: str,
    changes: Mapping[str, Any],
) -> JobRow | None:
    which = (JobRow.id == job_id) & (JobRow.fence == fence)
    return moves.move(session, which, JobState.RUNNING, to, reason=reason, changes=changes)


def _take_back(
    session: Session, which: ColumnElement[bool], *, reason: str, retry_delays: Sequence[float]
) -> tuple[Job, ...]:
    statement = (
        select(JobRow)
        .where(in_state(JobState.RUNNING), which)
        .order_by(JobRow.lease_until)
        .limit(AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    taken = []
    found = session.scalars(statement, execution_options=moves.LATEST).all()
    for row in sorted(found, key=lambda each: str(each.parent_id)):  # as `moves` says: groups
        delay = moves.delay_after(row.attempt, retry_delays)
        terms: dict[str, Any] = {"delay_seconds": delay, "charge": True, "actor": moves.SWEEPER}
        taken.append(moves.give_back(session, row, reason=reason, **terms).to_domain())
    return tuple(taken)


def _progress(progress: Progress | None) -> dict[str, Any]:
    if progress is None:
        return {}
    eta = progress.eta_seconds
    values: dict[str, Any] = {
        "stage": progress.stage,
        "eta_seconds": eta if eta is not None and math.isfinite(eta) else None,
        "progress_at": now(),
    }
    if math.isfinite(progress.fraction):
        values["progress"] = min(1.0, max(0.0, progress.fraction))
    return values
