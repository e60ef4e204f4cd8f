"""How the work stands: what waits and runs, who computes, what failed of late, what is yet to be
sent. Numbers of the session's project, or of all where the session is of none; by aggregates."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from core.db.clock import now
from core.db.job_tables import JobRow, in_state
from core.db.webhook_tables import DeliveryRow
from core.domain.jobs import JobKind, JobState, QueueName
from core.services import outbox, uploads

DAY: Final = 86_400.0
MOST: Final = 50  # jobs that are listed one by one
EXAMPLES: Final = 3  # of each code or reason
LOOKED_AT: Final = 100  # jobs, for examples
_EXAMPLE: Final = (JobRow.id, JobRow.kind, JobRow.project_id)


@dataclass(slots=True)
class Line:
    """Jobs of one kind: `due` wait and may be claimed, the first `since` then; `later` wait for
    the moment of their next attempt."""

    queue: QueueName
    kind: JobKind
    due: int = 0
    later: int = 0
    running: int = 0
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """A job, to look at for who may."""

    id: UUID
    kind: JobKind
    project_id: UUID


@dataclass(frozen=True, slots=True)
class Working:
    """A job that runs, and who has it; `alive` while its lease lasts."""

    job: Example
    owner: str
    queue: QueueName
    stage: str
    progress: float
    attempt: int
    max_attempts: int
    heartbeat_at: datetime | None
    alive: bool


@dataclass(slots=True)
class Failure:
    """Jobs that ended with one code within a day, and the newest few."""

    code: str
    count: int
    last: datetime | None
    examples: list[Example] = field(default_factory=list)


@dataclass(slots=True)
class Again:
    """Jobs that have not ended and lost an attempt for one reason, and a few of them."""

    reason: str
    count: int = 0
    examples: list[Example] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Backlog:
    """Messages that wait for their webhooks; `since` is when the first of them was due."""

    waiting: int
    since: datetime | None


@dataclass(frozen=True, slots=True)
class Standing:
    """All of it, at one moment."""

    lines: tuple[Line, ...]
    working: tuple[Working, ...]
    failures: tuple[Failure, ...]
    again: tuple[Again, ...]
    backlog: Backlog
    stored_bytes: int


def read(session: Session) -> Standing:
    """How it stands now."""
    return Standing(
        lines=lines(session),
        working=working(session),
        failures=failures(session),
        again=again(session),
        backlog=backlog(session),
        stored_bytes=uploads.used_bytes(session),
    )


def lines(session: Session) -> tuple[Line, ...]:
    """What waits and runs, by queue and kind; groups, which nobody computes, left out."""
    later = JobRow.not_before > now()
    fields = (JobRow.queue, JobRow.kind, func.count(), func.sum(case((later, 1), else_=0)),
              func.min(JobRow.not_before))  # fmt: skip
    found: dict[tuple[QueueName, JobKind], Line] = {}
    for state in (JobState.QUEUED, JobState.RUNNING):  # each by a partial index
        which = in_state(state), JobRow.kind != JobKind.GROUP
        by_kind = select(*fields).where(*which).group_by(JobRow.queue, JobRow.kind)
        for queue, kind, count, waits, since in session.execute(by_kind):
            line = found.setdefault((queue, kind), Line(queue, kind))
            if state is JobState.RUNNING:
                line.running = count
            else:
                line.due, line.later, line.since = count - waits, waits, since
    order = list(JobKind)
    return tuple(sorted(found.values(), key=lambda each: (each.queue, order.index(each.kind))))


def working(session: Session, *, limit: int = MOST) -> tuple[Working, ...]:
    """What runs, the longest silent first."""
    row = JobRow
    fields = (row.lease_owner, row.queue, row.stage, row.progress, row.attempt, row.max_attempts,
              row.heartbeat_at, row.lease_until > now())  # fmt: skip
    which = in_state(JobState.RUNNING), row.kind != JobKind.GROUP
    statement = select(*_EXAMPLE, *fields).where(*which).order_by(row.heartbeat_at, row.id)
    found = session.execute(statement.limit(limit))
    return tuple(Working(Example(*each[:3]), *each[3:]) for each in map(tuple, found))


def failures(session: Session) -> tuple[Failure, ...]:
    """What failed within a day by its code, the most first."""
    row, code = JobRow, func.coalesce(JobRow.error_code, "unknown")
    lately = in_state(JobState.FAILED), row.finished_at > now(-DAY)
    found: dict[str, Failure] = {}
    by_code = select(code, func.count(row.id), func.max(row.finished_at)).where(*lately)
    for each, count, last in session.execute(by_code.group_by(code)):
        found[each] = Failure(each, count, last)
    newest = select(code, *_EXAMPLE).where(*lately).order_by(row.finished_at.desc())
    some = session.execute(newest.limit(LOOKED_AT)) if found else ()
    for each, job_id, kind, project_id in some:
        known = found.get(each)  # none of one that has failed since
        if known is not None and len(known.examples) < EXAMPLES:
            known.examples.append(Example(job_id, kind, project_id))
    return tuple(sorted(found.values(), key=lambda each: (-each.count, each.code)))


def again(session: Session) -> tuple[Again, ...]:
    """What had to begin again and has not ended, by why, the most first."""
    row, found = JobRow, dict[str, Again]()
    reason = func.coalesce(row.resume_reason, "")
    for state in (JobState.RUNNING, JobState.QUEUED):
        which = in_state(state), row.resume_reason.is_not(None)
        by_reason = select(reason, func.count(row.id)).where(*which).group_by(reason)
        counts = session.execute(by_reason).all()
        for why, count in counts:
            found.setdefault(why, Again(why)).count += count
        few = select(reason, *_EXAMPLE).where(*which).limit(LOOKED_AT)
        for why, job_id, kind, project_id in session.execute(few) if counts else ():
            known = found.get(why)
            if known is not None and len(known.examples) < EXAMPLES:
                known.examples.append(Example(job_id, kind, project_id))
    return tuple(sorted(found.values(), key=lambda each: (-each.count, each.reason)))


def backlog(session: Session) -> Backlog:
    """What is to be sent to webhooks, now or later."""
    fields = func.count(DeliveryRow.id), func.min(DeliveryRow.created_at)
    waiting, since = session.execute(select(*fields).where(outbox.pending())).one()
    return Backlog(waiting, since)
