"""`make soak`: mixed work and random faults for hours; nothing may be lost, and nothing may grow.

python -m tests.chaos.soak [--hours 2] [--seed 1]

The API and one worker live through it, so that what they hold can be followed; the other workers
are killed and drained all the time, children of all of them die, Redis and PostgreSQL restart.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import redis

from core.domain.jobs import JobState
from core.services import jobs
from tests.chaos.cluster import QUICK, Cluster, clustered
from tests.chaos.curves import Curve, table
from tests.chaos.gauges import Gauges
from tests.chaos.processes import Servers, servers, until
from tests.chaos.report import Row, judge, say
from tests.chaos.traffic import Traffic
from tests.fixtures.processes import Process

RESULT = Path("var/bench/soak.json")
HOURS = 2.0
PAUSE = (20.0, 60.0)  # between two faults
SEARCH_SECONDS = 300.0  # between two real searches
SEARCH_ATTEMPTS = 10
# A lease must outlive a restart of the database, or attempts would be charged for it.
TIMINGS = QUICK.model_copy(update={"lease": 15.0, "self_stop": 12.0})
Fault = Callable[["Field"], None]


@dataclass(frozen=True, slots=True)
class Field:
    """Where faults are made."""

    cluster: Cluster
    workers: Sequence[Process]  # that may be killed
    dice: random.Random

    def kill(self) -> None:
        """SIGKILL to a worker."""
        self.dice.choice(self.workers).kill()

    def kill_child(self) -> None:
        """SIGKILL to one that computes, for whichever worker."""
        children = [pid for each in self.cluster.processes for pid in each.children()]
        with contextlib.suppress(ProcessLookupError):
            if children:
                os.kill(self.dice.choice(children), signal.SIGKILL)

    def drain(self) -> None:
        """SIGTERM to a worker."""
        worker = self.dice.choice(self.workers)
        worker.send(signal.SIGTERM)
        until(lambda: not worker.alive, "the worker exits")

    def stop_postgres(self) -> None:
        """An immediate stop, as in a crash, and a restart."""
        self.cluster.servers.postgres.stop()
        time.sleep(self.dice.uniform(0, 1))
        self.cluster.servers.postgres.start()

    def stop_redis(self) -> None:
        """The end of Redis and of all that was in it."""
        self.cluster.servers.redis.stop()
        time.sleep(self.dice.uniform(0, 2))
        self.cluster.servers.redis.start()

    def flush_redis(self) -> None:
        """Every hint is gone."""
        with redis.Redis.from_url(self.cluster.servers.redis.url) as client:
            client.flushall()


FAULTS: Mapping[str, Fault] = {
    "kill -9 of a worker": Field.kill,
    "kill -9 of a child": Field.kill_child,
    "SIGTERM to a worker": Field.drain,
    "PostgreSQL stopped at once": Field.stop_postgres,
    "Redis stopped": Field.stop_redis,
    "Redis flushed": Field.flush_redis,
}


def soak(
    servers: Servers, seconds: float, seed: int, *, pause: tuple[float, float] = PAUSE
) -> tuple[Row, list[Curve], Counter[str]]:
    """Its row, the curves, and how often each fault was made.

    A run is a job; the worst seconds are those from the last fault's end until all was quiet.
    """
    with clustered(servers, TIMINGS) as cluster:
        api, url = cluster.api()
        steady = {"API": api, "worker": cluster.worker(slots=2)}
        pids = {name: process.pid for name, process in steady.items()}
        field = Field(cluster, [cluster.worker(slots=2) for _ in range(2)], random.Random(seed))
        traffic = Traffic(cluster, url, seed)
        for worker in (steady["worker"], *field.workers):
            until(lambda: " ready." in worker.log.read_text(), "the worker is ready")  # noqa: B023
        gauges = Gauges(cluster, steady, seconds)
        with traffic, gauges:
            made = _storm(field, seconds, pause)
        quiet = cluster.settle() + until(lambda: _quiet(cluster), "jobs nobody was told of end")
        curves = gauges.curves()
        complaints = [words for each in curves if (words := each.complaint)] + traffic.complaints
        complaints += [f"{name} has died" for name in pids if steady[name].pid != pids[name]]
        complaints += ["the worker has children when all is quiet"] * _busy(steady["worker"])
        if not any(each.uploads for each in traffic.visitors):
            complaints.append("nothing was uploaded")
        fault = f"{seconds:.0f} s of mixed work, {made.total()} faults"
        ended = len(cluster.accepted)
        row = judge(
            cluster, fault, runs=ended, worst=quiet, ends=traffic.ends, complaints=complaints
        )
        return row, curves, made


def _storm(field: Field, seconds: float, pause: tuple[float, float]) -> Counter[str]:
    """Make faults, all by turns, until the time is over; how many of each."""
    made: Counter[str] = Counter()
    cluster, dice, begun = field.cluster, field.dice, time.monotonic()
    end, searched, round_ = begun + seconds, begun, list[str]()
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, dice.uniform(*pause)))
        if time.monotonic() >= end:
            break
        if not round_:
            round_ = dice.sample(list(FAULTS), len(FAULTS))
        name = round_.pop()
        FAULTS[name](field)
        made[name] += 1
        cluster.revive()
        if time.monotonic() - searched > SEARCH_SECONDS:
            cluster.search(dice.randrange(1000), max_attempts=SEARCH_ATTEMPTS)
            searched = time.monotonic()
    return made


def _quiet(cluster: Cluster) -> bool:
    """Whether every job has ended, those included whose answer was lost."""
    with cluster.container.sessions.read() as session:
        states = (JobState.QUEUED, JobState.RUNNING)
        return not jobs.listing(session, limit=1, states=states)[0]


def _busy(worker: Process) -> bool:
    """Whether it has children, a while after its last job."""
    with contextlib.suppress(TimeoutError):
        until(lambda: not worker.children(), "the children are gone", seconds=10)
        return False
    return True


def main() -> int:
    """Run it, print the curves, write the figures; 1 unless it passed."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak", description=__doc__)
    parser.add_argument("--hours", type=float, default=HOURS)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--out", type=Path, default=RESULT)
    asked = parser.parse_args()
    say(f"seed {asked.seed}")
    with servers() as running:
        row, curves, made = soak(running, asked.hours * 3600, asked.seed)
    sys.stdout.write(f"{table(curves)}\n")
    sys.stdout.write("".join(f"{count:4} x {name}\n" for name, count in made.items()))
    verdict = "passed" if row.passed else "FAILED"
    figures = f"{row.runs} jobs, {row.lost} lost, {row.double} double, {row.stale} stale"
    sys.stdout.write(f"{row.fault}: {figures}; {verdict}\n")
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    found = {"seed": asked.seed, "faults": made, **asdict(row)}
    found["curves"] = [each.to_json() for each in curves]
    asked.out.write_text(json.dumps(found, indent=1) + "\n")
    return int(not row.passed)


if __name__ == "__main__":
    sys.exit(main())
