"""Workers, claimers and APIs with one promise taken out of them.

CHAOS_MUTANT names what is missing: a harness that finds nothing wrong then is of no use.
`python -m uvicorn --factory tests.chaos.mutants:api` is the API.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from core.db.clock import now
from core.db.job_tables import JobRow, in_state
from core.db.sessions import Sessions
from core.domain.jobs import Job, JobState, QueueName
from core.errors import Unavailable
from core.execution.process import ChildProcess
from core.services import jobs, moves

VARIABLE = "CHAOS_MUTANT"
HASTE_SECONDS = 3.0  # longer than the scenario waits between an answer and the next stop


def unfenced() -> None:
    """Anybody writes who ever held a job, however long ago."""

    def move_mine(
        session: Any,
        job_id: Any,
        fence: int,
        to: JobState,
        reason: str,
        changes: Mapping[str, Any],
    ) -> JobRow | None:
        which = JobRow.id == job_id
        return moves.move(session, which, JobState.RUNNING, to, reason=reason, changes=changes)

    moves.holds = lambda fence: in_state(JobState.RUNNING)
    jobs._move_mine = move_mine
    ChildProcess.keep_until = lambda self, deadline: setattr(self, "_deadline", float("inf"))  # type: ignore[method-assign]


def deaf() -> None:
    """A worker hears of no cancel, and its jobs succeed in spite of one."""
    beat, finish = jobs.beat, jobs.finish

    def renew(*given: Any, **terms: Any) -> bool:
        beat(*given, **terms)
        return False

    def succeed(session: Session, job_id: Any, fence: int, result: Mapping[str, Any]) -> Job:
        session.execute(update(JobRow).where(JobRow.id == job_id).values(cancel_requested=False))
        return finish(session, job_id, fence, result)

    jobs.beat, jobs.finish = renew, succeed
    jobs.cancel_requested = lambda *given: False


def charging() -> None:
    """A worker that is told to end has its jobs pay for it."""
    release = jobs.release
    jobs.release = lambda *given, **terms: release(*given, **{**terms, "charge": True})


def unlocked() -> None:
    """A claim looks first and writes later, and locks nothing meanwhile."""

    def claim(
        session: Session, *, queue: QueueName, owner: str, lease_seconds: float
    ) -> Job | None:
        waits = (in_state(JobState.QUEUED), JobRow.queue == queue)
        oldest = select(JobRow).where(*waits).order_by(JobRow.created_at, JobRow.id).limit(1)
        row = session.scalars(oldest).first()
        lease_until = session.scalar(select(now(lease_seconds)))
        if row is None:
            return None
        row.state, row.fence, row.attempt = JobState.RUNNING, row.fence + 1, 1
        row.lease_owner, row.lease_until = owner, lease_until
        session.flush()
        return row.to_domain()

    jobs.claim = claim


def dependent() -> None:
    """An API fails a submission because nobody could be told of it."""
    from core.queue.celery_queue import CeleryQueue  # takes a while, for claimers in vain

    announce = CeleryQueue.announce

    def ring(self: CeleryQueue, *given: Any) -> None:
        announce(self, *given)
        self.check()

    CeleryQueue.announce = ring  # type: ignore[method-assign]


def hasty() -> None:
    """An API answers first and commits after that."""

    @contextlib.contextmanager
    def begin(self: Sessions) -> Iterator[Session]:
        session = self._session(self._engine)
        try:
            yield session
            session.flush()
        except BaseException as error:
            session.close()
            if isinstance(error, SQLAlchemyError):
                raise Unavailable("The database does not answer.") from error
            raise
        threading.Timer(HASTE_SECONDS, _commit, (session,)).start()

    Sessions.begin = begin  # type: ignore[method-assign]


def _commit(session: Session) -> None:
    with contextlib.suppress(SQLAlchemyError):
        session.commit()
    session.close()


OF_WORKERS: Mapping[str, Callable[[], None]] = {
    each.__name__: each for each in (unfenced, deaf, charging, unlocked)
}
OF_API: Mapping[str, Callable[[], None]] = {each.__name__: each for each in (dependent, hasty)}


def mutate(mutants: Mapping[str, Callable[[], None]] = OF_WORKERS) -> None:
    """Be what the environment names, if it is one of these."""
    mutants.get(os.environ.get(VARIABLE, ""), lambda: None)()


def api() -> Any:
    """The API, such as it is."""
    from api import main  # of which workers know nothing

    mutate(OF_API)
    return main.create()
