"""kill -9 of supervisors, children and the API: at every crash point, and at random.

Every job that a dead worker held is charged one attempt (the sweeper cannot tell a job that kills
its workers from one that is unlucky), and three are allowed by default. Here workers die far more
often than jobs end, so jobs are given 40; that poison stops at three is tried with `cancels`.
"""

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from core import crash_points
from core.domain.jobs import JobId
from core.services import jobs
from tests.chaos.cluster import Cluster, clustered
from tests.chaos.processes import Servers, answers, until
from tests.chaos.report import Row, judge
from tests.fixtures.processes import Process

GENEROUS = 40
SHORT = (4, 100)  # steps, and milliseconds of each
LONG = (8, 500)  # a step takes longer than news of a checkpoint may take to be written


def points(servers: Servers, runs: int, seed: int, *, points: Sequence[str]) -> Row:
    """Die at each point, again and again, and let the others and the next process go on.

    The worst seconds are those from a death until the job that met it had ended.
    """
    with clustered(servers) as cluster:
        armed = cluster.folder / "armed"
        armed.mkdir()
        for _ in range(2):
            cluster.worker(slots=2, **{crash_points.VARIABLE: str(armed)})
        url = ""
        if set(points) & set(crash_points.OF_API):
            url = cluster.api(**{crash_points.VARIABLE: str(armed)})[1]
        deaths: dict[JobId, float] = {}
        for point in [each for each in points for _ in range(runs)]:
            (armed / point).touch()
            of_api = point in crash_points.OF_API
            job_id = _ask(cluster, url) if of_api else BAIT.get(point, _count)(cluster)
            _until_reached(cluster, armed / point)
            deaths[job_id] = time.time()
        cluster.settle(600)
        return judge(
            cluster,
            f"kill -9 at {points[0] if len(points) == 1 else f'{len(points)} crash points'}",
            runs=runs * len(points),
            worst=max(_outlived(cluster, job_id, at) for job_id, at in deaths.items()),
            ends=cluster.cancelled_ends(),
        )


def _until_reached(cluster: Cluster, file: Path) -> None:
    def reached() -> bool:
        cluster.revive()  # whoever died at the point before
        return not file.exists()

    until(reached, f"{file.name} is reached")


def _outlived(cluster: Cluster, job_id: JobId, death: float) -> float:
    """How long after a death the job ended, by the one clock that this machine has."""
    ended = cluster.job(job_id).finished_at
    return max(0.0, ended.timestamp() - death) if ended else float("inf")


def _ask(cluster: Cluster, url: str) -> JobId:
    """A job over HTTP: its row is committed, nobody has rung, and the client hears nothing."""
    until(lambda: answers(url), "the API answers")
    play = cluster.next_play("count", *SHORT)
    path = f"{url}/v1/datasets/{cluster.dataset}:embed"
    with contextlib.suppress(httpx.TransportError):
        httpx.post(path, json={"embedder": play.name}, trust_env=False)
    with cluster.container.sessions.read() as session:
        (newest,), _ = jobs.listing(session, limit=1)
    assert newest.spec["embedder"] == play.name
    cluster.accepted.append(newest.id)
    cluster.played[newest.id] = play
    return newest.id


def _count(cluster: Cluster) -> JobId:
    return cluster.play("count", *SHORT, max_attempts=GENEROUS)


def _falter(cluster: Cluster) -> JobId:
    return cluster.play("falter", *SHORT, max_attempts=GENEROUS)


def _cancel(cluster: Cluster) -> JobId:
    job_id = cluster.play("count", *LONG, max_attempts=GENEROUS)
    cluster.wait_until_begun(job_id)
    cluster.cancel(job_id)
    return job_id


def _search(cluster: Cluster) -> JobId:
    return cluster.search(max_attempts=GENEROUS)


def _orphan(cluster: Cluster) -> JobId:
    return cluster.orphan(*SHORT, max_attempts=GENEROUS)


BAIT: dict[str, Callable[[Cluster], JobId]] = {
    "before_release": _falter,
    "after_release": _falter,
    "after_restore": _falter,
    "before_cancelled": _cancel,
    "in_sweep": _orphan,
    "after_sweep": _orphan,
    "before_manifest": _search,
    "after_manifest": _search,
}


@dataclass
class Killer:
    """Picks who dies next."""

    dice: random.Random
    kills: int = 0

    def strike(self, worker: Process) -> None:
        """Kill a worker, one of its children, or both."""
        whom = self.dice.choice(("supervisor", "child", "both"))
        children = worker.children()
        if whom != "supervisor":
            if not children:
                return
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.dice.choice(children), signal.SIGKILL)
                self.kills += 1
        if whom != "child":
            worker.kill()
            self.kills += whom == "supervisor"


def at_random(servers: Servers, runs: int, seed: int) -> Row:
    """Two workers of two slots each, one of which is struck about every second."""
    killer = Killer(random.Random(seed))
    with clustered(servers) as cluster:
        workers = [cluster.worker(slots=2) for _ in range(2)]
        for _ in range(max(4, runs)):
            cluster.play("count", *LONG, max_attempts=GENEROUS)
        while killer.kills < runs:
            time.sleep(killer.dice.uniform(0.3, 1.5))
            victim = killer.dice.choice(workers)
            if not victim.alive:
                victim.start()
            elif victim.children():
                killer.strike(victim)
            if all(cluster.ended(job_id) for job_id in cluster.accepted[-4:]):
                cluster.play("count", *LONG, max_attempts=GENEROUS)
        quiet = cluster.settle(600)
        old = [words for job_id in cluster.played for words in late(cluster, job_id)]
        fault = "kill -9 of supervisor, child or both at random"
        return judge(cluster, fault, runs=killer.kills, worst=quiet, complaints=old)


def late(cluster: Cluster, job_id: JobId) -> list[str]:
    """What was done more than twice: the step under way and the one before it may be, no other.

    A step is told of when it is done and kept thereafter; so the death between the two, or before
    the supervisor has written the row, costs that step, and nothing else may be lost.
    """
    with cluster.container.sessions.read() as session:
        resumes = {
            record.step: record.values["step"] or 0
            for record in jobs.records(session, job_id, stage="resume")
        }
    done = [
        (fence, int(words[0])) for fence, words in cluster.trace(job_id) if words[0] != "begun"
    ]
    found = []
    for fence, step in resumes.items():
        reached = max((each for earlier, each in done if earlier < fence), default=0)
        if reached - step > 1:
            found.append(f"{job_id}: attempt {fence} began at {step}, step {reached} was done")
    return found
