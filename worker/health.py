"""`python -m worker.health`: whether the worker of this home works; for container checks.

It fails when the worker has not gone round its loop for too long, when it has lost its GPU, or
when jobs of its queues wait although it says that it has nothing to do. That the broker, or the
database, is away is no fault of the worker's: a new one would fare no better. A home has one
worker where this is asked, or one fleet of them (`worker.fleet`), which is as well as the worst.
"""

import sys
from collections.abc import Sequence

from sqlalchemy import exists, select

from core.config import Settings
from core.db.clock import now
from core.db.job_tables import JobRow, in_state
from core.db.sessions import Sessions
from core.domain.jobs import JobState, QueueName
from core.errors import Unavailable
from worker.beat import Beat, places

PATIENCE_SECONDS = 60.0


def complaint(settings: Settings) -> str | None:
    """What is wrong with the worker, or with one of the fleet, if anything."""
    complaints = (_complaint(settings, place) for place in places(settings.home))
    return next((each for each in complaints if each is not None), None)


def _complaint(settings: Settings, place: int | None) -> str | None:
    patience = max(PATIENCE_SECONDS, 6 * settings.jobs.sweep)
    beat = Beat.read(settings.home, place)
    if beat is None:
        return f"No worker has begun in {settings.home}."
    if not 0 <= beat.age <= patience:
        return f"The worker has not gone round its loop within {patience:.0f} s."
    if beat.quarantined:
        return "The worker has lost its GPU and takes no more GPU jobs: start it anew."
    # What it could have claimed for so long when it last said that it found nothing.
    if beat.idle and _waits(settings, beat.queues, seconds=patience + beat.age):
        return f"Jobs have waited for more than {patience:.0f} s while the worker idles."
    return None


def _waits(settings: Settings, queues: Sequence[QueueName], *, seconds: float) -> bool:
    waiting = (in_state(JobState.QUEUED), JobRow.queue.in_(queues))
    overdue = exists().where(*waiting, JobRow.not_before <= now(-seconds))
    sessions = Sessions(settings.database)
    try:
        with sessions.read() as session:
            return bool(session.scalar(select(overdue)))
    except Unavailable:
        return False
    finally:
        sessions.dispose()


def main() -> None:
    """Exit 0 for a healthy worker, 1 with a sentence for another."""
    sys.exit(complaint(Settings()))


if __name__ == "__main__":
    main()
