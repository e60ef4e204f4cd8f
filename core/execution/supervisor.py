"""Claims jobs and sees each to its end; sweeps up what lost workers left behind."""

import sys
from collections.abc import Callable, Sequence

import structlog

from core import crash_points, tracing
from core.config import Settings
from core.db import locks
from core.db.sessions import Sessions
from core.domain.jobs import Job, JobId, JobState, QueueName
from core.errors import Unavailable
from core.execution.attempt import Attempt
from core.services import jobs

CHILD_COMMAND = (sys.executable, "-m", "core.execution.child")

log = structlog.stdlib.get_logger(__name__)


class Supervisor:
    """Safe to call from many threads, processes and machines at once: the claim decides."""

    def __init__(
        self,
        sessions: Sessions,
        settings: Settings,
        owner: str,
        *,
        announce: Callable[[JobId, QueueName], None] | None = None,
        child_command: Sequence[str] = CHILD_COMMAND,
    ) -> None:
        self._sessions = sessions
        self._settings = settings
        self._owner = owner
        self._announce = announce
        self._command = tuple(child_command)
        self._drains = False
        self._quarantined = False

    @property
    def quarantined(self) -> bool:
        """Whether the accelerator was lost: no GPU job is claimed, others compute on the CPU."""
        return self._quarantined

    def run_next(self, queue: QueueName) -> bool:
        """Claim a job and see it to its end; False when none waits (or this worker drains)."""
        refused = self._drains or (self._quarantined and queue is QueueName.GPU)
        job = None if refused else self._claim(queue)
        if job is None:
            return False
        crash_points.reach("after_claim")
        names = {"job_id": str(job.id), "kind": job.kind.value, "attempt": job.attempt}
        with (
            structlog.contextvars.bound_contextvars(**names),
            tracing.span(f"attempt {job.kind}", _told(job), parent=job.trace),
        ):
            log.info("job_claimed", fence=job.fence)
            attempt = Attempt(
                job,
                sessions=self._sessions,
                settings=self._usable(),
                command=self._command,
                draining=lambda: self._drains,
            )
            again = attempt.run()
            if attempt.device_lost:
                self._quarantined = True
                log.error("device_quarantined")
            if again:
                self._ring(job)
        return True

    def drain(self) -> None:
        """Claim no more; running children are asked to stop and their jobs go back uncharged.

        Returns at once, and sets nothing but a flag: it may be called from a signal handler.
        """
        self._drains = True

    def sweep(self) -> None:
        """Take back jobs whose lease ran out, unless somebody else is at it just now."""
        with self._sessions.begin() as session:
            if not locks.alone(session, "sweep"):
                return
            reaped = jobs.reap(session, retry_delays=self._settings.jobs.retry_delays)
            if reaped:
                crash_points.reach("in_sweep")
        for job in reaped:
            crash_points.reach("after_sweep")
            log.warning("job_reaped", job_id=str(job.id), state=job.state.value)
        # One ring a queue: who hears it goes on until nothing waits, and a dead broker costs time.
        for job in {job.queue: job for job in reaped if job.state is JobState.QUEUED}.values():
            self._ring(job)

    def _usable(self) -> Settings:
        if not self._quarantined:
            return self._settings
        return self._settings.model_copy(update={"device": "cpu"})

    def _claim(self, queue: QueueName) -> Job | None:
        try:
            with self._sessions.begin() as session:
                return jobs.claim(
                    session,
                    queue=queue,
                    owner=self._owner,
                    lease_seconds=self._settings.jobs.lease,
                )
        except Unavailable:
            log.warning("claim_failed", queue=queue.value)
            return None

    def _ring(self, job: Job) -> None:
        if self._announce is not None:
            self._announce(job.id, job.queue)


def _told(job: Job) -> tracing.Attributes:
    return {
        "headstart.job.id": str(job.id),
        "headstart.job.kind": job.kind.value,
        "headstart.project.id": str(job.project_id),
        "headstart.attempt": job.attempt,
        "headstart.fence": job.fence,
    }
