"""A job's history page by page: its moves, and the lines it has written."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db.job_tables import JobEventRow, JobRecordRow
from core.domain.jobs import JobEvent, JobRecord
from core.services import paging
from core.services.paging import Order


def events(
    session: Session,
    job_id: UUID,
    *,
    limit: int,
    after: str | None = None,
    order: Order = "oldest",
) -> tuple[tuple[JobEvent, ...], str | None]:
    """A page of moves, and the token of the next. Raises InvalidInput."""
    row = JobEventRow
    statement = select(row).where(row.job_id == job_id)
    rows, token = paging.page(
        session, statement, by=(row.seq,), limit=limit, after=after, order=order
    )
    return tuple(found[0].to_domain() for found in rows), token


def records(
    session: Session,
    job_id: UUID,
    *,
    stage: str | None = None,
    limit: int,
    after: str | None = None,
    order: Order = "oldest",
) -> tuple[tuple[JobRecord, ...], str | None]:
    """A page of lines by when they were written, and the token of the next. Raises InvalidInput.

    A line that a resumed attempt writes again moves to where that attempt is: from the oldest on
    it may come twice, and is never missed.
    """
    row = JobRecordRow
    statement = select(row).where(row.job_id == job_id)
    if stage is not None:
        statement = statement.where(row.stage == stage)
    by = (row.at, row.stage, row.step)
    rows, token = paging.page(session, statement, by=by, limit=limit, after=after, order=order)
    return tuple(found[0].to_domain() for found in rows), token
