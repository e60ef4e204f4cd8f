"""What workers say of a job: a bounded log, written by the holder of its lease alone."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import and_, delete, or_, select
from sqlalchemy.orm import Session

from core.db.job_tables import JobLogRow, JobRow
from core.db.upserts import insert_or_update
from core.domain.jobs import LogLine
from core.services import moves, paging
from core.services.paging import Order

LINES, ATTEMPTS = 200, 3  # that are kept: the last lines of each of the last attempts


def add(session: Session, job_id: UUID, fence: int, lines: Sequence[LogLine]) -> None:
    """Write the attempt's next lines; one with a known number is replaced. Raises LeaseLost."""
    project_id = moves.held(session, job_id, fence).project_id
    if not lines:
        return
    rows = [
        {"project_id": project_id, "job_id": job_id, "fence": fence, "number": each.number}
        | {"at": each.at, "level": each.level, "message": each.message}
        for each in lines
    ]
    insert_or_update(session, JobLogRow, rows)
    row, last = JobLogRow, max(each.number for each in lines)
    old = or_(row.fence <= fence - ATTEMPTS, and_(row.fence == fence, row.number <= last - LINES))
    session.execute(delete(row).where(row.job_id == job_id, row.project_id == project_id, old))


def page(
    session: Session,
    job_id: UUID,
    *,
    limit: int,
    after: str | None = None,
    order: Order = "oldest",
) -> tuple[tuple[LogLine, ...], str | None]:
    """A page of lines, and the token of the next. Raises InvalidInput."""
    row = JobLogRow
    statement = select(row).where(row.job_id == job_id)
    by = (row.fence, row.number)
    rows, token = paging.page(session, statement, by=by, limit=limit, after=after, order=order)
    return tuple(found[0].to_domain() for found in rows), token


def forget(session: Session, dataset_id: UUID) -> None:
    """Drop the logs of a dataset's jobs: they may tell of what was in it."""
    theirs = select(JobRow.id).where(JobRow.dataset_id == dataset_id)
    session.execute(delete(JobLogRow).where(JobLogRow.job_id.in_(theirs)))
