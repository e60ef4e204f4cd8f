"""Workers that are paused past their leases, or told to end."""

import random
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.config import JobTimings
from core.domain.jobs import JobId
from core.services import jobs
from tests.chaos.cluster import QUICK, Cluster, clustered
from tests.chaos.processes import Servers, until
from tests.chaos.report import Row, judge
from tests.fixtures.processes import Process
from tests.unit.execution.bench import alive

WORKERS = 8  # of which half are paused at a time, and the other half take over
STEPS = 6  # of a fifth of a second
GENEROUS = 40  # attempts: each pause is charged one, and a job may be unlucky
PAUSED = QUICK.model_copy(update={"lease": 2.5, "self_stop": 1.8})
DRAIN_BOUND = 25.0
AT_ONCE = 4
# Steps, and milliseconds of each: nobody looks up before a step is over.
HEEDFUL, DEAF = (6, 1500), (2, 60_000)
# The product's own grace; what would only be waited for is quick.
DRAINED = JobTimings(heartbeat=0.5, sweep=0.5, retry_delays=(0.0,))


@dataclass(frozen=True, slots=True)
class Victim:
    """A worker that does not run, and the job that it believes it holds."""

    worker: Process
    job_id: JobId
    fence: int


def pauses(
    servers: Servers, runs: int, seed: int, *, steps: int = STEPS, mutant: str | None = None
) -> Row:
    """SIGSTOP past the lease until another has taken over, then SIGCONT: write nothing more.

    Every other round the worker is stopped where its child has stored the result and the commit
    is next; every other two, it goes on only when the job has ended without it. The worst seconds
    are those from SIGCONT until the stale child is gone.
    """
    dice, done, worst, rounds = random.Random(seed), 0, 0.0, 0
    with clustered(servers, PAUSED, mutant=mutant) as cluster:
        arms: dict[int, tuple[Process, Path]] = {}
        for number in range(min(WORKERS, 2 * runs)):
            file = cluster.folder / f"stop-{number}"
            worker = cluster.worker(CHAOS_STOP_AT=f"before_commit:{file}")
            arms[worker.pid] = worker, file
        while done < runs:
            ids = [cluster.play("count", steps, 200, max_attempts=GENEROUS) for _ in arms]
            victims = _pause(cluster, ids, arms, late=rounds % 2 == 1, dice=dice)[: runs - done]
            for each in victims:
                _wait_for_heir(cluster, each, to_end=rounds % 4 > 1)
            worst = max(worst, _go_on(cluster, victims))
            done, rounds = done + len(victims), rounds + 1
        cluster.settle()
        dead = [f"worker {pid} has died" for pid, (worker, _) in arms.items() if worker.pid != pid]
        fault = "SIGSTOP past the lease, then SIGCONT"
        return judge(cluster, fault, runs=done, worst=worst, complaints=dead)


def _pause(
    cluster: Cluster,
    ids: Sequence[JobId],
    arms: dict[int, tuple[Process, Path]],
    *,
    late: bool,
    dice: random.Random,
) -> list[Victim]:
    """Stop half of the workers, each in the middle of a job or just before its commit."""
    found: list[Victim] = []
    for job_id in ids:
        cluster.wait_until_claimed(job_id)
        job = cluster.job(job_id)
        taken = {each.worker.pid for each in found}
        owner = int((job.lease_owner or ":-1").rsplit(":", 1)[1])
        if owner not in arms or owner in taken or len(found) >= len(arms) // 2:
            continue
        worker, file = arms[owner]
        if late:
            file.touch()
        else:
            time.sleep(dice.uniform(0, 0.2))
            worker.send(signal.SIGSTOP)
        until(lambda: stopped(worker) or cluster.ended(job_id), "the worker stops")  # noqa: B023
        file.unlink(missing_ok=True)
        if stopped(worker):
            found.append(Victim(worker, job_id, job.fence))
    running = [each for each in found if not cluster.ended(each.job_id)]
    for each in found:
        if each not in running:
            each.worker.send(signal.SIGCONT)
    return running


def stopped(process: Process) -> bool:
    """Whether it is stopped by a signal."""
    try:
        return ") T " in Path(f"/proc/{process.pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):  # the latter while it is being read
        return False


def _wait_for_heir(cluster: Cluster, victim: Victim, *, to_end: bool) -> None:
    def taken_over() -> bool:
        job = cluster.job(victim.job_id)
        return job.fence > victim.fence and (job.finished or not to_end)

    until(taken_over, "another worker takes over", every=0.05)


def _go_on(cluster: Cluster, victims: Sequence[Victim]) -> float:
    """Let the stopped go on; how long until their children were gone."""
    children = [pid for each in victims for pid in each.worker.children()]
    for each in victims:
        each.worker.send(signal.SIGCONT)
    return until(lambda: not any(map(alive, children)), "the stale children are gone")


def drains(servers: Servers, runs: int, seed: int, *, mutant: str | None = None) -> Row:
    """SIGTERM amid a job, every third time twice: out in time, and the attempt is not charged.

    In every fifth round the jobs are deaf to it and have to be killed. The worst seconds are
    those to the exit.
    """
    dice, done, worst = random.Random(seed), 0, 0.0
    complaints: list[str] = []
    with clustered(servers, DRAINED, mutant=mutant) as cluster:
        workers = [cluster.worker() for _ in range(min(runs, AT_ONCE))]
        while done < runs:
            size = DEAF if done // len(workers) % 5 == 1 else HEEDFUL
            ids = [cluster.play("count", *size) for _ in workers]
            for job_id in ids:
                cluster.wait_until_begun(job_id)
            time.sleep(dice.uniform(0, 3))
            worst = max(worst, _terminate(workers, done))
            complaints += [words for each in workers for words in _exit(each)]
            complaints += [words for job_id in ids for words in _charged(cluster, job_id)]
            for job_id in ids if size == DEAF else []:
                cluster.cancel(job_id)
            done += len(workers)
            cluster.revive()
        cluster.settle()
        return judge(
            cluster,
            "SIGTERM amid a job",
            runs=done,
            worst=worst,
            bound=DRAIN_BOUND,
            complaints=complaints,
            ends=cluster.cancelled_ends(),
        )


def _terminate(workers: Sequence[Process], done: int) -> float:
    sent = time.monotonic()
    for number, worker in enumerate(workers, done):
        worker.send(signal.SIGTERM)
        if number % 3 == 0:
            time.sleep(0.2)
            worker.send(signal.SIGTERM)
    until(lambda: all(not each.alive for each in workers), "the workers exit", seconds=60)
    return time.monotonic() - sent


def _exit(worker: Process) -> list[str]:
    return [] if worker.status == 0 else [f"exit status {worker.status}"]


def _charged(cluster: Cluster, job_id: JobId) -> list[str]:
    job = cluster.job(job_id)
    with cluster.container.sessions.read() as session:
        last = jobs.events(session, job_id)[-1]
    if job.finished or (job.attempt, last.reason) == (0, "drained"):
        return []
    return [f"{job_id}: {job.state}, attempt {job.attempt}, {last.reason}"]
