"""What is new of jobs, for those who watch them: whether anything is, and what since when."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db.job_tables import JobEventRow, JobRecordRow, JobRow
from core.domain.jobs import Children, Job, JobEvent, JobId, JobKind, JobRecord
from core.services import fanout

AT_ONCE = 500  # events, and lines of history, that one look takes in
# Every beat changes the cost, and lines of history come with a beat: a new line is a new version.
COLUMNS = (JobRow.state, JobRow.fence, JobRow.stage, JobRow.progress, JobRow.eta_seconds,
           JobRow.cancel_requested, JobRow.cost_seconds, JobRow.error_code,
           JobRow.resume_reason)  # fmt: skip
PARTS = attrgetter(*(column.key for column in COLUMNS))


@dataclass(frozen=True, slots=True)
class Place:
    """How far somebody has read: the last event's number, and the latest line's time.

    `told` are the lines of that very moment that were read. SQLite's clock counts milliseconds,
    so that others may still be written into the same one.
    """

    seq: int = 0
    at: datetime | None = None
    told: tuple[JobRecord, ...] = ()


START = Place()


@dataclass(frozen=True, slots=True)
class News:
    """Events and lines of history in the order they were written, and where to go on reading.

    With `more` there is something to read there already.
    """

    events: tuple[JobEvent, ...]
    records: tuple[JobRecord, ...]
    place: Place
    more: bool


def version(job: Job, standing: Mapping[JobId, Children]) -> str:
    """A word that changes with anything a watcher of this job would notice."""
    return _word(job, standing.get(job.id))


def versions(session: Session, ids: Collection[UUID]) -> Mapping[JobId, str]:
    """The versions of those among these jobs that exist, without reading what they are about."""
    columns = (JobRow.id, JobRow.kind, *COLUMNS)
    rows = session.execute(select(*columns).where(JobRow.id.in_(ids))).all()
    groups = [row.id for row in rows if row.kind is JobKind.GROUP]
    standing = fanout.standing(session, groups)
    return {JobId(row.id): _word(row, standing.get(row.id)) for row in rows}


def since(session: Session, job_id: UUID, place: Place = START, *, limit: int = AT_ONCE) -> News:
    """What was written after `place`; lines of one moment always come together.

    A line is written under its job's row lock and dated after that was had: none can appear before
    the latest that was read. From a place without `told`, the lines of its moment come again.
    """
    row = JobEventRow
    later = select(row).where(row.job_id == job_id, row.seq > place.seq)
    found = session.scalars(later.order_by(row.seq).limit(limit + 1)).all()
    events = tuple(each.to_domain() for each in found[:limit])
    lines, cut = _lines(session, job_id, place.at, limit)
    at = lines[-1].at if lines else place.at
    records = [(each.at, each.to_domain()) for each in lines]
    fresh = tuple(one for when, one in records if when != place.at or one not in place.told)
    reached = Place(
        seq=events[-1].seq if events else place.seq,
        at=at,
        told=tuple(one for when, one in records if when == at),
    )
    return News(events, fresh, reached, more=cut or len(found) > limit)


def _lines(
    session: Session, job_id: UUID, at: datetime | None, limit: int
) -> tuple[list[JobRecordRow], bool]:
    """The lines from this moment on, of `limit` later ones or a few more, and whether there are
    others after them."""
    row = JobRecordRow
    mine = select(row).where(row.job_id == job_id).order_by(row.at, row.stage, row.step)
    later = mine if at is None else mine.where(row.at > at)
    wanted = mine if at is None else mine.where(row.at >= at)
    times = later.with_only_columns(row.at)
    last = session.scalar(times.offset(limit - 1).limit(1))
    if last is None:
        return list(session.scalars(wanted)), False
    cut = session.scalar(times.where(row.at > last).limit(1)) is not None
    return list(session.scalars(wanted.where(row.at <= last))), cut


def _word(row: Any, children: Children | None) -> str:
    seen = PARTS(row)
    if children is not None:
        counts = sorted(children.counts.items())
        # Rounded: in which order a database adds them up is its own affair.
        seen = (*seen, counts, round(children.progress, 9), round(children.cost_seconds, 6))
    return hashlib.sha256(repr(seen).encode()).hexdigest()[:24]
