"""Groups: a job that stands for many others, its children, and ends with the last of them.

The group's row is made with its children's and settled by `moves` with the last one's end, so
that no process has to live for it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session, aliased

from core.db.clock import now
from core.db.job_tables import JobRow, in_state
from core.domain.jobs import TERMINAL, Children, Job, JobId, JobKind, JobState
from core.services import moves

OWNER = "children"
# Of a lease that nobody has to renew: its holders are rows.
NEVER = datetime(9999, 1, 1, tzinfo=UTC)


def begin(session: Session, group_id: UUID) -> None:
    """Let a group that was just queued run, so that no worker can claim it."""
    changes = {
        "attempt": JobRow.attempt + 1,
        "fence": JobRow.fence + 1,
        "stage": "children",
        "started_at": now(),
        "lease_until": NEVER,
        "lease_owner": OWNER,
    }
    which = JobRow.id == group_id
    moves.move(session, which, JobState.QUEUED, JobState.RUNNING, reason=OWNER, changes=changes)


def locked_children(session: Session, group_id: UUID) -> Sequence[UUID]:
    """The children that have not ended, kept from moving until the transaction does."""
    theirs = (JobRow.parent_id == group_id, JobRow.state.not_in(TERMINAL))
    statement = select(JobRow.id).where(*theirs).order_by(JobRow.id).with_for_update()
    return session.scalars(statement).all()


def settle_left(session: Session, *, limit: int) -> None:
    """Settle groups whose last child was ended by a process that knows of no groups."""
    child = aliased(JobRow)
    unfinished = select(child.id).where(child.parent_id == JobRow.id, child.state.not_in(TERMINAL))
    groups = (in_state(JobState.RUNNING), JobRow.kind == JobKind.GROUP)
    left = select(JobRow.id).where(*groups, ~unfinished.exists()).order_by(JobRow.id).limit(limit)
    for group_id in session.scalars(left).all():
        moves.settle(session, group_id)


def children(session: Session, found: Iterable[Job]) -> Mapping[JobId, Children]:
    """How the children of those among the jobs that are groups stand."""
    return standing(session, [job.id for job in found if job.kind is JobKind.GROUP])


def standing(session: Session, groups: Collection[UUID]) -> Mapping[JobId, Children]:
    """As `children`, of jobs that are known to be groups."""
    if not groups:
        return {}
    done = case((JobRow.state.in_(TERMINAL), 1.0), else_=JobRow.progress)
    sums = (func.count(), func.sum(done), func.sum(JobRow.cost_seconds))
    by = (JobRow.parent_id, JobRow.state)
    rows = session.execute(select(*by, *sums).where(JobRow.parent_id.in_(groups)).group_by(*by))
    found: dict[UUID, list[tuple[JobState, int, float, float]]] = {each: [] for each in groups}
    for group_id, *those in rows:
        found[group_id].append(tuple(those))
    return {JobId(each): _together(of_one) for each, of_one in found.items()}


def shown(job: Job, standing: Mapping[JobId, Children]) -> Job:
    """The job; a group as far as its children are, at their cost."""
    of_one = standing.get(job.id)
    if of_one is None:
        return job
    return replace(job, progress=of_one.progress, cost_seconds=of_one.cost_seconds)


def _together(rows: Sequence[tuple[JobState, int, float, float]]) -> Children:
    count = sum(row[1] for row in rows)
    return Children(
        counts={state: n for state, n, _, _ in rows},
        progress=sum(row[2] for row in rows) / max(1, count),
        cost_seconds=sum(row[3] for row in rows),
    )
