"""What a restored database needs to be told before anything runs on it."""

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from core.db.job_tables import JobRow
from core.domain.jobs import TERMINAL

# More attempts than a job can have had between the backup and the loss.
LEAP = 1_000_000


def begin_anew(session: Session) -> int:
    """Raise the fence of every job that has not ended; how many there are.

    The store may hold files of attempts that came after the backup. Without this a new attempt
    would be given one of their fences, find their files under its own keys, and keep them.
    Whoever still holds a job of the lost database is refused from now on.
    """
    live = JobRow.state.not_in(TERMINAL)
    count: int = session.scalars(select(func.count()).select_from(JobRow).where(live)).one()
    session.execute(update(JobRow).where(live).values(fence=JobRow.fence + LEAP))
    return count
