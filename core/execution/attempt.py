"""One attempt at one job: a child that computes, and a lease kept alive meanwhile.

Short transactions only, and none while the child computes. Every write is guarded by the fence: a
refused one means that another worker has the job, and then nothing more is written.
"""

import math
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy.orm import Session

from core import crash_points, tracing
from core.config import Settings
from core.db.sessions import Sessions
from core.domain.jobs import Job, JobKind, JobRecord, LogLevel
from core.domain.searches import IngestSpec
from core.domain.work import IngestOutcome
from core.errors import CancelRequested, LeaseLost, Unavailable
from core.execution import failures, host_memory, intakes, metrics, protocol, scratch
from core.execution.failures import Retry
from core.execution.job_log import JobLog
from core.execution.lease import Lease
from core.execution.process import ChildProcess, environment
from core.execution.vigil import Vigil
from core.services import jobs, moves, wire, work
from core.storage.select import store_of

TICK_SECONDS = 0.2  # how soon a drain is noticed
SHARED = frozenset({JobKind.SEARCH, JobKind.PRETRAIN})  # what several processes compute together

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The pipeline's outcome, to be recorded."""

    outcome: Any


@dataclass(frozen=True, slots=True)
class Failed:
    """No result; what follows is for `core.execution.failures` to say, by the code."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Somebody asked for the end, and it ended."""


@dataclass(frozen=True, slots=True)
class Abandoned:
    """The lease may be another's by now: write nothing."""


Ending = Succeeded | Failed | Cancelled | Abandoned


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
        self._sessions = sessions.within(job.project_id)
        self._settings = settings
        self._command = command
        self._draining = draining
        self._lease = Lease(job, sessions=self._sessions, timings=settings.jobs)
        self._say = JobLog(job.fence, settings, self._lease.lines).say
        self._kill_at = math.inf  # a moment as soon as somebody wants the child's end
        self._vigil = Vigil(settings.jobs.stall)
        self._processes = settings.processes_per_job if job.kind in SHARED else 1
        self._threads = max(1, settings.threads // self._processes)
        self._hung = False
        self.device_lost = False  # as the end of it has shown

    def run(self) -> bool:
        """Compute, then record; whether the job is queued again for whoever comes next."""
        try:
            return self._settle(self._compute())
        except LeaseLost:
            log.warning("lease_lost")
            metrics.LEASE_LOST.inc()
            tracing.current().conclude("lease_lost")
        except Unavailable:
            # The lease runs out by the database's own clock and the job is taken up again.
            log.warning("database_lost", exc_info=True)
            tracing.current().conclude("database_lost")
        return False

    def _compute(self) -> Ending:
        try:
            name = f"{self._job.id}-a{self._job.fence}-"
            with scratch.folder(self._settings.home, name) as folder:
                envelope = self._envelope(str(folder))
                return envelope if isinstance(envelope, Failed) else self._run_child(envelope)
        except OSError as error:  # no room, no folder, no process: this machine's state
            log.exception("attempt_impossible")
            code, message = failures.of_error(error)
            if code != failures.INTERNAL:
                return Failed(code, message)
            return Failed(failures.UNAVAILABLE, f"The worker cannot compute: {error.strerror}.")

    def _run_child(self, envelope: protocol.Envelope) -> Ending:
        with (
            tracing.span("compute", {"headstart.processes": self._processes}),
            tracing.Stages("load") as self._stages,
            ChildProcess(
                self._command,
                envelope=protocol.seal(envelope),
                env=environment(os.environ, threads=self._threads),
                deadline=self._lease.deadline,
            ) as child,
        ):
            log.info("child_started", child=child.pid)
            self._say(f"Attempt {self._job.attempt} of {self._job.max_attempts} begins.")
            crash_points.reach("child_started")
            return self._attend(child)

    def _envelope(self, folder: str) -> protocol.Envelope | Failed:
        try:
            with self._sessions.read() as session:
                inputs = work.inputs(session, self._job)
                checkpoints = jobs.checkpoints(session, self._job.id)
                past = jobs.events(session, self._job.id)
        except Unavailable:
            return Failed(failures.UNAVAILABLE, "The inputs could not be read.")
        except Exception as error:
            log.exception("inputs_unreadable")
            return Failed(*failures.of_error(error))
        return protocol.Envelope(
            project_id=self._job.project_id,
            job_id=self._job.id,
            kind=self._job.kind,
            fence=self._job.fence,
            attempt=self._job.attempt,
            halvings=sum(event.reason == failures.GPU_OOM for event in past),
            counted_from=time.monotonic() - self._job.cost_seconds,
            inputs=wire.dump(inputs),
            checkpoints=checkpoints,
            settings=protocol.portable(self._settings),
            threads=self._threads,
            device=self._settings.device,
            scratch=folder,
            supervisor=os.getpid(),
            processes=self._processes,
        )

    def _attend(self, child: ChildProcess) -> Ending:
        tick = min(TICK_SECONDS, self._settings.jobs.heartbeat / 2)
        self._vigil.heard()
        while True:
            for event in child.events(timeout=tick):
                if not isinstance(event, protocol.Said):  # any thread may warn
                    self._vigil.heard()
                ending = self._hear(event, expired=child.expired)
                if ending is not None:
                    return ending
            self._watch(child)  # before the database is asked: signs are heard in between only
            self._lease.keep()
            child.keep_until(self._lease.deadline)
            self._press(child)
            if child.stuck:
                log.error("child_stuck", child=child.pid)
                self.device_lost = True  # only a driver's call can outlive a kill
                killed = protocol.Exited(-signal.SIGKILL)
                return self._exited(killed, expired=child.expired)

    def _hear(self, event: protocol.Event, *, expired: bool) -> Ending | None:
        match event:
            case protocol.Reported(progress, record):
                self._stages.reach(progress.stage)
                self._tell_stage(progress.stage)
                self._lease.progress = progress
                self._lease.records += [record] if record else []
            case protocol.Said(level, message):
                self._say(message, level)
            case protocol.Checkpointed(checkpoint):
                self._lease.checkpoints.append(checkpoint)
            case protocol.Resumed(step, reason):
                place = "the start" if step is None else f"checkpoint {step}"
                self._say(f"Resumes from {place}: {reason}.")
                values = {"step": step, "reason": reason}
                # By fence: an attempt that was not charged for has its number used again.
                self._lease.records.append(JobRecord("resume", self._job.fence, values))
            case protocol.Finished(outcome):
                return Succeeded(outcome)
            case protocol.Failed(code, message, trace):
                return self._failed(code, message, trace)
            case protocol.Halted():
                return self._stopped(Failed(failures.WORKER_LOST, ""))
            case protocol.Exited():
                return self._exited(event, expired=expired)
        return None

    def _tell_stage(self, stage: str) -> None:
        before = self._lease.progress
        if before is None or before.stage != stage:
            self._say(f"Stage {stage}.")

    def _failed(self, code: str, message: str, trace: str) -> Ending:
        log.error("pipeline_failed", code=code, message=message, trace=trace)
        words = message or "The pipeline broke; how is in its worker's own log."
        self._say(f"{words} ({code})", LogLevel.ERROR)
        self.device_lost = code == failures.DEVICE_LOST
        # Asked to stop, it may have failed at stopping only.
        return self._stopped(Failed(code, message))

    def _exited(self, event: protocol.Exited, *, expired: bool) -> Ending:
        limit = host_memory.limit_bytes()
        words = {"status": event.status, "peak_bytes": event.peak_bytes, "limit_bytes": limit}
        log.warning("child_exited", expired=expired, **words)
        if expired:
            return Abandoned()
        gone = f"The computing process ended with status {event.status}"
        self._say(f"{gone}; it held {event.peak_bytes / 1e6:.0f} MB at most.", LogLevel.WARNING)
        if self._hung:
            return self._stopped(Failed(failures.STALLED, ""))
        # The first of several processes is no larger than the others.
        peak = event.peak_bytes * self._processes
        code = failures.of_exit(event.status, peak_bytes=peak, limit_bytes=limit)
        if code != failures.WORKER_LOST:
            return self._stopped(Failed(code, ""))
        lost = f"The computing process was lost (exit status {event.status})."
        return self._stopped(Failed(code, lost))

    def _stopped(self, otherwise: Failed) -> Ending:
        """How it ended if somebody wanted its end, and `otherwise` if nobody did."""
        if self._lease.cancel_requested:
            return Cancelled()
        return Failed(failures.DRAINED, "") if math.isfinite(self._kill_at) else otherwise

    def _watch(self, child: ChildProcess) -> None:
        """Kill the child if it hangs: stopped, stuck in foreign code, or waiting for ever."""
        if not self._hung and self._vigil.in_vain:
            silence, limit = round(self._vigil.silence, 1), round(self._vigil.limit, 1)
            log.error("child_hung", silent_seconds=silence, limit_seconds=limit)
            self._say(f"No sign of life for {silence} s: the process is killed.", LogLevel.ERROR)
            self._hung = True
            child.kill()

    def _press(self, child: ChildProcess) -> None:
        """Ask the child to stop if somebody wants that, and after the grace make it."""
        timings, time_left = self._settings.jobs, math.inf
        if self._draining():
            time_left = timings.drain_grace
        if self._lease.cancel_requested:  # also amid a drain
            time_left = min(time_left, timings.cancel_grace)
        if math.isinf(time_left):
            return
        moment = time.monotonic()
        if math.isinf(self._kill_at):
            why = "Cancelled" if self._lease.cancel_requested else "The worker leaves"
            self._say(f"{why}: the process is asked to stop.")
            child.terminate()
        # The grace begins when it is first wanted: what it would be from now on is later.
        self._kill_at = min(self._kill_at, moment + time_left)
        if moment >= self._kill_at:
            child.kill()

    def _settle(self, ending: Ending) -> bool:
        job = self._job
        tracing.current().conclude(_named(ending))
        match ending:
            case Abandoned():
                log.error("lease_may_be_lost", self_stop=self._settings.jobs.self_stop)
            case Cancelled():
                crash_points.reach("before_cancelled")
                self._lease.close(lambda s: jobs.mark_cancelled(s, job.id, job.fence))
                log.info("job_cancelled")
            case Failed(code, message):
                return self._fail(code, message or failures.of_code(code).words)
            case Succeeded(outcome):
                self._record(outcome)
        return False

    def _record(self, said: Any) -> None:
        job = self._job

        def finish(session: Session) -> None:
            outcome = wire.load(protocol.OUTCOME_OF[job.kind], said)
            work.record(session, job, outcome)  # the results and `succeeded` in one commit
            if isinstance(outcome, IngestOutcome):
                store, limits = store_of(self._settings), self._settings.uploads
                intakes.check(session, store, job, outcome, limits)
            crash_points.reach("in_commit")

        crash_points.reach("before_commit")
        self._say("Done; what it made is being registered.")
        try:
            self._lease.close(finish)
        except (LeaseLost, Unavailable):
            raise
        except CancelRequested:  # while the last words were on their way
            self._settle(Cancelled())
        except Exception as error:
            log.exception("outcome_unrecordable")
            self._settle(Failed(*failures.of_error(error)))
        else:
            crash_points.reach("after_commit")
            log.info("job_succeeded")
            if job.kind is JobKind.INGEST:
                spec: IngestSpec = wire.load(IngestSpec, job.spec)
                store = store_of(self._settings)
                intakes.drop_read(self._sessions, store, job.project_id, spec.uploads)

    def _fail(self, code: str, message: str) -> bool:
        job, retry = self._job, failures.verdict(code, self._job)
        if retry is Retry.FINAL:
            self._lease.close(lambda s: jobs.fail(s, job.id, job.fence, code, message))
            log.info("job_failed", code=code)
            return False
        charge, delay = retry is Retry.CHARGED, 0.0
        if failures.of_code(code).waits:
            # What is not charged does not count up: how often it was claimed does.
            tries = job.attempt if charge else job.fence
            delay = moves.delay_after(tries, self._settings.jobs.retry_delays)
        terms: dict[str, Any] = {"reason": code, "delay_seconds": delay, "charge": charge}
        wait = f" in {delay:.0f} s at the earliest" if delay else ""
        self._say(f"Given back ({code}); the next attempt begins{wait}.", LogLevel.WARNING)
        crash_points.reach("before_release")
        self._lease.close(lambda s: jobs.release(s, job.id, job.fence, **terms))
        crash_points.reach("after_release")
        log.info("job_released", **terms)
        return delay == 0


def _named(ending: Ending) -> str:
    return ending.code if isinstance(ending, Failed) else type(ending).__name__.lower()
