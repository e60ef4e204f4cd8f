"""What a project uses, held against what it may: by whoever makes more of it, in its transaction.

A session of a project counts what is that project's, so no statement here names it. The queue
alone is counted for all of them.
"""

from collections import Counter
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, case, func, or_, select
from sqlalchemy.orm import Session

from core.config import Settings
from core.db import locks
from core.db.clock import now
from core.db.job_tables import JobRow, in_state
from core.db.scope import of_all, project_of
from core.domain.identity import PUBLIC, Limits, Project
from core.domain.jobs import TERMINAL, JobKind, JobState, QueueName
from core.errors import LimitReached
from core.services import moves, projects, uploads

DAYS = 30
SOON = 30.0  # seconds until a job may well have ended
LATER = 3_600.0  # until GPU time falls out of the count, where no job that used it has ended


@dataclass(frozen=True, slots=True)
class Used:
    """What a project uses now, counted as `Limits` says."""

    active_jobs: int
    stored_bytes: int
    gpu_seconds: float


def used(session: Session) -> Used:
    """What the session's project uses."""
    return Used(_active(session), uploads.used_bytes(session), _spent(session))


def allowed(session: Session, settings: Settings) -> Limits:
    """What the session's project may use: by its own limits, else by the installation's."""
    own = projects.limits_of(session)
    return own if project_of(session) is None else filled(own, settings)


def filled(own: Limits, settings: Settings) -> Limits:
    """A project's limits, with the installation's where it has none of its own."""
    most = settings.queue.active_jobs if settings.auth == "keys" else None
    return replace(
        own,
        active_jobs=most if own.active_jobs is None else own.active_jobs,
        stored_bytes=(
            settings.uploads.stored_bytes if own.stored_bytes is None else own.stored_bytes
        ),
    )


def by_project(session: Session, *, limit: int = 100) -> tuple[tuple[Project, Used], ...]:
    """What the projects use, by name, for a session of none; the public one is left out."""
    active, alone = Counter[UUID](), JobRow.kind != JobKind.GROUP
    for state in set(JobState) - TERMINAL:  # by the indexes of what waits and runs
        active.update(_by(session, func.count(JobRow.id), in_state(state), alone))
    spent = _by(session, func.sum(JobRow.cost_seconds), *_on_gpus())
    stored = uploads.used_by_project(session)
    return tuple(
        (each, Used(active[each.id], stored.get(each.id, 0), float(spent.get(each.id, 0))))
        for each in [one for one in projects.listing(session) if one.id != PUBLIC][:limit]
    )


def check(session: Session, settings: Settings) -> None:
    """Whether the session's project may have the jobs that were queued in this transaction.

    To be asked when all are. Raises LimitReached (`too_many_jobs`, `gpu_seconds_spent`, and
    `queue_full` where it is the installation that has too many).
    """
    queued = [each for each in moves.made(session) if each.origin is None]
    if not queued:
        return
    limits = allowed(session, settings)
    # Two who count at once would both find room.
    if limits.active_jobs is not None or limits.gpu_seconds is not None:
        locks.in_turn(session, f"jobs of {project_of(session)}")
    if limits.active_jobs is not None:
        _check_active(session, limits.active_jobs)
    if limits.gpu_seconds is not None and any(each.queue is QueueName.GPU for each in queued):
        _check_spent(session, limits.gpu_seconds)
    locks.in_turn(session, "the queue")  # last: it is held for the shortest time
    _check_queue(session, settings.queue.jobs)


def _check_active(session: Session, most: int) -> None:
    if (count := _active(session)) > most:
        message = (
            f"The project may have {most} jobs that have not ended, and this would make {count}: "
            "wait until some have, or cancel them."
        )
        raise LimitReached(message, code="too_many_jobs", retry_after=SOON)


def _check_spent(session: Session, most: float) -> None:
    if (spent := _spent(session)) < most:
        return
    first = func.min(JobRow.finished_at)
    oldest, at = session.execute(select(first, now()).where(*_on_gpus())).one()
    wait = LATER if oldest is None else (oldest + timedelta(days=DAYS) - at).total_seconds()
    message = (
        f"The project has used {spent:.0f} of the {most:.0f} GPU seconds that it may use in "
        f"{DAYS} days: ask again when the first of them are older than that."
    )
    raise LimitReached(message, code="gpu_seconds_spent", retry_after=wait)


def _check_queue(session: Session, most: int) -> None:
    waiting = in_state(JobState.QUEUED), JobRow.kind != JobKind.GROUP
    with of_all(session):
        count = session.scalars(select(func.count(JobRow.id)).where(*waiting)).one()
    if count > most:
        message = f"{most} jobs may wait at once, and as many do: ask again when some have begun."
        raise LimitReached(message, code="queue_full", retry_after=SOON)


def _active(session: Session) -> int:
    # Of a group its children count. By the indexes of what waits and runs: a project's own would
    # have all that has ended looked at, which is most.
    mine = case((JobRow.project_id == project_of(session), 1))
    with of_all(session):
        return sum(
            session.scalars(
                select(func.count(mine))
                .select_from(JobRow)
                .where(in_state(state), JobRow.kind != JobKind.GROUP)
            ).one()
            for state in set(JobState) - TERMINAL
        )


def _spent(session: Session) -> float:
    return float(session.scalar(select(func.sum(JobRow.cost_seconds)).where(*_on_gpus())) or 0.0)


def _by(
    session: Session, value: ColumnElement[Any], *which: ColumnElement[bool]
) -> dict[UUID, Any]:
    statement = select(JobRow.project_id, value).where(*which).group_by(JobRow.project_id)
    return {row[0]: row[1] for row in session.execute(statement)}


def _on_gpus() -> tuple[ColumnElement[bool], ...]:
    lately = or_(JobRow.finished_at.is_(None), JobRow.finished_at > now(-DAYS * 86_400.0))
    # A group's are those of its children once more.
    theirs = JobRow.queue == QueueName.GPU, JobRow.kind != JobKind.GROUP
    return *theirs, JobRow.cost_seconds > 0, lately
