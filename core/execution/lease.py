"""A claimed job seen from its holder: what is yet to be told, and how long it is still held."""

import time
from collections.abc import Callable

import structlog
from sqlalchemy.orm import Session

from core import crash_points
from core.config import JobTimings
from core.db.sessions import Sessions
from core.domain.jobs import Checkpoint, Job, JobRecord, LogLine, Progress
from core.errors import Unavailable
from core.services import job_logs, jobs

WRITE_SECONDS = 0.5  # news is gathered this long before it is written
PAUSE_SECONDS = 0.5  # between two tries to reach the database

log = structlog.stdlib.get_logger(__name__)


class Lease:
    """Beats, and says what happened, in short transactions guarded by the job's fence."""

    def __init__(self, job: Job, *, sessions: Sessions, timings: JobTimings) -> None:
        self.cancel_requested = False
        self.progress: Progress | None = None
        self.records: list[JobRecord] = []
        self.checkpoints: list[Checkpoint] = []
        self.lines: list[LogLine] = []  # of its log: they wait for the next beat
        self._job = job
        self._sessions = sessions
        self._timings = timings
        self._told: Progress | None = None
        self._started = self._last_beat = self._last_try = self._last_look = time.monotonic()

    @property
    def deadline(self) -> float:
        """When to stop computing unless another beat succeeds first (monotonic clock)."""
        return self._last_beat + self._timings.self_stop

    def keep(self) -> None:
        """Beat when it is time or there is news; between beats look for a cancel.

        Raises LeaseLost; an absent database is noted.
        """
        news = bool(self.records or self.checkpoints or self.progress is not self._told)
        wait, now = self._timings.heartbeat, time.monotonic()
        if now - self._last_try >= (min(WRITE_SECONDS, wait) if news else wait):
            self._beat()
        elif now - max(self._last_try, self._last_look) >= self._timings.cancel_poll:
            self._look()

    def _beat(self) -> None:
        self._last_try = time.monotonic()
        try:
            with self._sessions.begin() as session:
                self._write(session)
        except Unavailable:
            log.warning("beat_failed", silent_seconds=round(self._last_try - self._last_beat, 1))
            return
        # Counted from before the write: in the database the lease begins no earlier than that.
        self._last_beat = self._last_try
        self._forget_told()

    def close(self, last_word: Callable[[Session], object]) -> None:
        """Write what is left to tell and the job's next state, in one transaction.

        Raises LeaseLost, and Unavailable when the database does not answer until the deadline.
        """
        while True:
            try:
                with self._sessions.begin() as session:
                    self._write(session)
                    last_word(session)
            except Unavailable:
                if time.monotonic() >= self.deadline:
                    raise
                log.warning("commit_failed")
                time.sleep(min(PAUSE_SECONDS, self._timings.heartbeat))
            else:
                self._forget_told()
                return

    def _look(self) -> None:
        if self.cancel_requested:
            return
        self._last_look = time.monotonic()
        try:
            with self._sessions.read() as session:
                self.cancel_requested = jobs.cancel_requested(
                    session, self._job.id, self._job.fence
                )
        except Unavailable:
            log.warning("look_failed")
            self._last_look = time.monotonic()  # not at once again: the answer may have cost long

    def _write(self, session: Session) -> None:
        job = self._job
        cancelled = jobs.beat(
            session,
            job.id,
            job.fence,
            lease_seconds=self._timings.lease,
            cost_seconds=job.cost_seconds + time.monotonic() - self._started,
            progress=self.progress,
        )
        self.cancel_requested = self.cancel_requested or cancelled
        if self.records:
            jobs.add_records(session, job.id, job.fence, tuple(self.records))
        if self.lines:
            job_logs.add(session, job.id, job.fence, tuple(self.lines))
        for checkpoint in self.checkpoints:
            crash_points.reach("before_checkpoint_row")
            jobs.add_checkpoint(session, job.id, job.fence, checkpoint)

    def _forget_told(self) -> None:
        self._told = self.progress
        self.records.clear()
        self.checkpoints.clear()
        self.lines.clear()
