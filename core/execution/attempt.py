"""One attempt at one job: a child that computes, and a lease kept alive meanwhile.

Short transactions only, and none while the child computes. Every write is guarded by the fence: a
refused one means that another worker has the job, and then nothing more is written.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any

import structlog
from sqlalchemy.orm import Session

from core.config import Settings
from core.db.sessions import Sessions
from core.domain.jobs import Job, JobRecord
from core.errors import AppError, CancelRequested, LeaseLost, Unavailable
from core.execution import protocol
from core.execution.lease import Lease
from core.execution.process import ChildProcess, environment
from core.services import jobs, moves, wire, work

TICK_SECONDS = 0.2  # how soon a drain is noticed

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The pipeline's outcome, to be recorded."""

    outcome: Any


@dataclass(frozen=True, slots=True)
class FailedForGood:
    """A failure that another attempt would repeat."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class GivenBack:
    """The work was not finished, and another attempt may do better; `charge` counts this one."""

    reason: str
    message: str
    charge: bool


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Somebody asked for the end, and it ended."""


@dataclass(frozen=True, slots=True)
class Abandoned:
    """The lease may be another's by now: write nothing."""


Ending = Succeeded | FailedForGood | GivenBack | Cancelled | Abandoned


class Attempt:
    """Runs one claimed job to one ending and writes it down."""

    def __init__(
        self,
        job: Job,
        *,
        sessions: Sessions,
        settings: Settings,
        command: Sequence[str],
        draining: Callable[[], bool],
    ) -> None:
        self._job = job
        self._sessions = sessions
        self._settings = settings
        self._command = command
        self._draining = draining
        self._lease = Lease(job, sessions=sessions, timings=settings.jobs)
        self._kill_at: float | None = None

    def run(self) -> bool:
        """Compute, then record; whether the job is queued again for whoever comes next."""
        try:
            return self._settle(self._compute())
        except LeaseLost:
            log.warning("lease_lost")
        except Unavailable:
            # The lease runs out by the database's own clock and the job is taken up again.
            log.warning("database_lost", exc_info=True)
        return False

    def _compute(self) -> Ending:
        folder = self._settings.home.absolute() / "scratch"
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{self._job.id}-a{self._job.fence}-"
        with TemporaryDirectory(prefix=name, dir=folder, ignore_cleanup_errors=True) as scratch:
            try:
                envelope = self._envelope(scratch)
            except Unavailable:
                return GivenBack("unavailable", "The inputs could not be read.", charge=True)
            except AppError as error:
                return FailedForGood(error.stable_code, error.message)
            except Exception:  # a bug: logged whole, answered blank
                log.exception("inputs_unreadable")
                return FailedForGood(AppError.code, "")
            with ChildProcess(
                self._command,
                envelope=protocol.seal(envelope),
                env=environment(os.environ, threads=self._settings.threads),
                deadline=self._lease.deadline,
            ) as child:
                log.info("child_started", child=child.pid)
                return self._attend(child)

    def _envelope(self, scratch: str) -> protocol.Envelope:
        with self._sessions.read() as session:
            inputs = work.inputs(session, self._job)
            checkpoints = jobs.checkpoints(session, self._job.id)
        return protocol.Envelope(
            job_id=self._job.id,
            kind=self._job.kind,
            fence=self._job.fence,
            attempt=self._job.attempt,
            inputs=wire.dump(inputs),
            checkpoints=checkpoints,
            settings=protocol.portable(self._settings),
            threads=self._settings.threads,
            device=self._settings.device,
            scratch=scratch,
        )

    def _attend(self, child: ChildProcess) -> Ending:
        tick = min(TICK_SECONDS, self._settings.jobs.heartbeat / 2)
        while True:
            for event in child.events(timeout=tick):
                ending = self._hear(event, expired=child.expired)
                if ending is not None:
                    return ending
            self._lease.keep()
            child.keep_until(self._lease.deadline)
            self._press(child)

    def _hear(self, event: protocol.Event, *, expired: bool) -> Ending | None:
        match event:
            case protocol.Reported(progress, record):
                self._lease.progress = progress
                self._lease.records += [record] if record else []
            case protocol.Checkpointed(checkpoint):
                self._lease.checkpoints.append(checkpoint)
            case protocol.Resumed(step, reason):
                values = {"step": step, "reason": reason}
                # By fence: an attempt that was not charged for has its number used again.
                self._lease.records.append(JobRecord("resume", self._job.fence, values))
            case protocol.Finished(outcome):
                return Succeeded(outcome)
            case protocol.Failed(code, message, trace):
                return self._failed(code, message, trace)
            case protocol.Halted():
                return self._stopped("halted")
            case protocol.Exited(status):
                log.warning("child_exited", status=status, expired=expired)
                return Abandoned() if expired else self._stopped(f"exit status {status}")
        return None

    def _failed(self, code: str, message: str, trace: str) -> Ending:
        log.error("pipeline_failed", code=code, message=message, trace=trace)
        if self._kill_at is not None:  # it may have failed at stopping only
            return self._stopped("failed")
        if code == Unavailable.code:
            return GivenBack(code, message, charge=True)
        return FailedForGood(code, message)

    def _stopped(self, how: str) -> Ending:
        if self._lease.cancel_requested:
            return Cancelled()
        if self._kill_at is not None:
            return GivenBack("drained", "", charge=False)
        return GivenBack("worker_lost", f"The computing process was lost ({how}).", charge=True)

    def _press(self, child: ChildProcess) -> None:
        """Ask the child to stop if somebody wants that, and after the grace make it."""
        if self._kill_at is None and (self._lease.cancel_requested or self._draining()):
            child.terminate()
            self._kill_at = time.monotonic() + self._settings.jobs.cancel_grace
        elif self._kill_at is not None and time.monotonic() >= self._kill_at:
            child.kill()

    def _settle(self, ending: Ending) -> bool:
        job = self._job
        match ending:
            case Abandoned():
                log.error("lease_may_be_lost", self_stop=self._settings.jobs.self_stop)
            case Cancelled():
                self._lease.close(lambda s: jobs.mark_cancelled(s, job.id, job.fence))
                log.info("job_cancelled")
            case FailedForGood(code, message):
                self._lease.close(lambda s: jobs.fail(s, job.id, job.fence, code, message))
                log.info("job_failed", code=code)
            case GivenBack():
                return self._give_back(ending)
            case Succeeded(outcome):
                self._record(outcome)
        return False

    def _record(self, said: Any) -> None:
        job = self._job

        def finish(session: Session) -> None:
            outcome = wire.load(protocol.OUTCOME_OF[job.kind], said)
            work.record(session, job, outcome)  # the results and `succeeded` in one commit

        try:
            self._lease.close(finish)
        except (LeaseLost, Unavailable):
            raise
        except CancelRequested:  # while the last words were on their way
            self._settle(Cancelled())
        except AppError as error:
            self._settle(FailedForGood(error.stable_code, error.message))
        except Exception:  # a bug: logged whole, answered blank
            log.exception("outcome_unrecordable")
            self._settle(FailedForGood(AppError.code, ""))
        else:
            log.info("job_succeeded")

    def _give_back(self, ending: GivenBack) -> bool:
        job, delays = self._job, self._settings.jobs.retry_delays
        if ending.charge and job.attempt >= job.max_attempts:
            return self._settle(FailedForGood(ending.reason, ending.message))
        delay = moves.delay_after(job.attempt, delays) if ending.charge else 0.0
        self._lease.close(
            lambda s: jobs.release(
                s,
                job.id,
                job.fence,
                reason=ending.reason,
                delay_seconds=delay,
                charge=ending.charge,
            )
        )
        log.info("job_released", reason=ending.reason, delay_seconds=delay)
        return delay == 0
