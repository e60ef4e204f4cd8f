"""Jobs that somebody gives up, and jobs that take their process with them."""

import contextlib
import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from core.config import JobTimings
from core.domain.jobs import JobId, JobState
from core.errors import IllegalTransition
from tests.chaos.cluster import QUICK, Cluster, clustered
from tests.chaos.processes import Servers, until
from tests.chaos.report import Row, judge
from tests.unit.execution.bench import alive

CANCEL_BOUND = 10.0
# The product's own looks and grace; what would only be waited for is quick.
CANCELLED = JobTimings(sweep=0.5, retry_delays=(0.0,))
AT_ONCE = 16
MOMENTS = ("queued", "starting", "running", "ending", "twice", "deaf")


def cancels(
    servers: Servers,
    runs: int,
    seed: int,
    *,
    moments: Sequence[str] = MOMENTS,
    mutant: str | None = None,
) -> Row:
    """Ask at every moment of a job: its processes are gone in time, and it never succeeds."""
    dice = random.Random(seed)
    with clustered(servers, CANCELLED, mutant=mutant) as cluster:
        for _ in range(min(2, runs)):
            cluster.worker(slots=AT_ONCE // 2)
        delays = [(moments[number % len(moments)], dice.random()) for number in range(runs)]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            took = list(pool.map(lambda each: _cancel(cluster, *each), delays))
        cluster.settle()
        return judge(
            cluster,
            "cancel while queued, starting, running, ending, twice, deaf",
            runs=runs,
            worst=max(took),
            bound=CANCEL_BOUND,
            ends=cluster.cancelled_ends(),
        )


def _cancel(cluster: Cluster, moment: str, luck: float) -> float:
    """Cancel one job at one moment; how long until its processes were gone."""
    kind, steps = ("stubborn", 1) if moment == "deaf" else ("count", 5)
    job_id = cluster.play(kind, steps, 300)
    if moment == "starting":
        cluster.wait_until_claimed(job_id)
        time.sleep(luck)
    elif moment != "queued":
        cluster.wait_until_begun(job_id)
        time.sleep(1.4 + luck if moment == "ending" else luck)
    begun = time.monotonic()
    with contextlib.suppress(IllegalTransition):  # it has ended: nothing was promised
        cluster.cancel(job_id)
        if moment == "twice":
            cluster.cancel(job_id)
    until(lambda: cluster.ended(job_id) and _gone(cluster, job_id), "the job ends", every=0.05)
    return time.monotonic() - begun


def _gone(cluster: Cluster, job_id: JobId) -> bool:
    return not any(map(alive, cluster.begun(job_id)))


# Healthy children must begin within `stall`, however busy the machine.
POISONED = QUICK.model_copy(update={"stall": 8.0, "lease": 15.0, "self_stop": 12.0})
POISONS = {
    "die": "worker_lost",
    "exhaust": "out_of_memory",
    "hang": "stalled",
}
MOST_ATTEMPTS = 3
SLOWER = 2.0  # times as long, and a second, may healthy jobs wait beside poisonous ones


def poisons(servers: Servers, runs: int, seed: int) -> Row:
    """Jobs that kill their process, exhaust its memory or hang: three attempts, and no others ill.

    The worst seconds are those that a healthy job waited for its start, beside poison; their
    95th percentile may be twice that of as many without.
    """
    with clustered(servers, POISONED) as cluster:
        workers = [cluster.worker(slots=3) for _ in range(2)]
        cluster.wait_for(cluster.play("count", 2, 100))
        alone = [_waited(cluster) for _ in range(max(4, runs))]
        bad, beside = [], []
        for number in range(max(4, runs)):
            if number < runs:
                bad.append(cluster.play(list(POISONS)[number % 3], 1, 100))
            beside.append(_waited(cluster))
        cluster.settle(300)
        complaints = [words for job_id in bad for words in _survived(cluster, job_id)]
        complaints += ["a worker has died"] * sum(not each.alive for each in workers)
        complaints += [
            f"{job_id} needed {cluster.job(job_id).attempt} attempts"
            for job_id in cluster.played
            if job_id not in bad and cluster.job(job_id).attempt > 1
        ]
        if _slow(beside) > SLOWER * _slow(alone) + 1:
            complaints.append(f"{_slow(beside):.1f} s beside poison, {_slow(alone):.1f} s alone")
        return judge(
            cluster,
            "jobs that kill their process, exhaust memory or hang",
            runs=runs,
            worst=max(beside),
            complaints=complaints,
            ends={job_id: {JobState.FAILED} for job_id in bad},
        )


def _waited(cluster: Cluster) -> float:
    """How long a healthy job waits for its start."""
    job_id = cluster.play("count", 3, 100)
    cluster.wait_for(job_id)
    job = cluster.job(job_id)
    assert job.started_at is not None
    return (job.started_at - job.created_at).total_seconds()


def _slow(seconds: list[float]) -> float:
    """The 95th percentile."""
    return sorted(seconds)[int(0.95 * len(seconds)) - 1]


def _survived(cluster: Cluster, job_id: JobId) -> list[str]:
    job, kind = cluster.job(job_id), cluster.played[job_id].kind
    found = []
    if job.error_code != POISONS[kind]:
        found.append(f"{kind} ended as {job.error_code}, not {POISONS[kind]}")
    if job.fence > MOST_ATTEMPTS:
        found.append(f"{kind} was tried {job.fence} times")
    if not _gone(cluster, job_id):
        found.append(f"{kind} has left a process behind")
    return found
