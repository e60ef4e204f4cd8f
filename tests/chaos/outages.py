"""Redis and PostgreSQL go away while clients submit over HTTP."""

import contextlib
import os
import random
import signal
import threading
import time

import redis

from core.config import JobTimings
from core.errors import IllegalTransition, NotFound
from tests.chaos.client import Client
from tests.chaos.cluster import QUICK, Cluster, clustered
from tests.chaos.processes import Servers, until
from tests.chaos.report import Row, judge

START_BOUND = 45.0
# The product's own clocks: how soon a job starts is what is asked.
DEFAULT = JobTimings(retry_delays=(0.0,))
# A lease must outlive a restart, or attempts would be charged for it.
LASTING = QUICK.model_copy(update={"lease": 30.0, "self_stop": 25.0})
PER_SECOND = 20
RECOVERY_BOUND = 10.0
COMPUTED = 20  # of the jobs submitted, at least


def redis_faults(
    servers: Servers,
    runs: int,
    seed: int,
    *,
    timings: JobTimings = DEFAULT,
    mutant: str | None = None,
) -> Row:
    """Stop, flush or kill it while jobs come in: none is lost or refused, and each starts soon.

    The worst seconds are those from its return until the last of the jobs has started.
    """
    dice, worst = random.Random(seed), 0.0
    with clustered(servers, timings, mutant=mutant) as cluster, contextlib.ExitStack() as stack:
        workers = [cluster.worker(slots=2) for _ in range(2)]
        _, url = cluster.api()
        client = Client(cluster, url)
        stack.enter_context(client.http)
        for number in range(runs):
            fault = ("stop", "flush", "kill")[number % 3]
            submitted = [client.submit()]
            _break(servers, fault)
            submitted += [client.submit() for _ in range(2)]
            time.sleep(dice.uniform(0, 3))
            if fault != "flush":
                servers.redis.start()
            back = time.monotonic()
            submitted.append(client.submit())
            for job_id in submitted:
                if job_id is not None:
                    cluster.wait_until_claimed(job_id)
            worst = max(worst, time.monotonic() - back)
        dead = ["a worker has died"] * sum(not each.alive for each in workers)
        cluster.settle()
        return judge(
            cluster,
            "Redis stopped, flushed or killed",
            runs=runs,
            worst=worst,
            bound=START_BOUND,
            complaints=[*client.complaints, *dead, *["refused"] * client.refused],
        )


def _break(servers: Servers, fault: str) -> None:
    with redis.Redis.from_url(servers.redis.url) as client:
        if fault == "flush":
            client.flushall()
            return
        if fault == "kill":
            os.kill(client.info("server")["process_id"], signal.SIGKILL)
    servers.redis.stop()


def postgres_restarts(servers: Servers, runs: int, seed: int, *, mutant: str | None = None) -> Row:
    """Immediate stops under load: what was acknowledged stays, the rest hears 503 and asks again.

    The worst seconds are those from the server's return until a submission is taken again.
    """
    dice, worst = random.Random(seed), 0.0
    with clustered(servers, LASTING, mutant=mutant) as cluster:
        for _ in range(2):
            cluster.worker(slots=2)
        _, url = cluster.api()
        load = Load(cluster, url)
        with load:
            for _ in range(runs):
                time.sleep(dice.uniform(0.5, 1.5))
                servers.postgres.stop()
                time.sleep(dice.uniform(0, 1))
                servers.postgres.start()
                back, seen = time.monotonic(), len(cluster.accepted)
                until(lambda: len(cluster.accepted) > seen, "a submission is taken")  # noqa: B023
                worst = max(worst, time.monotonic() - back)
        _thin_out(cluster)
        cluster.settle()
        return judge(
            cluster,
            f"PostgreSQL stopped at once under load ({load.refused} x 503)",
            runs=runs,
            worst=worst,
            bound=RECOVERY_BOUND,
            complaints=load.complaints,
            ends=cluster.cancelled_ends(),
        )


def _thin_out(cluster: Cluster) -> None:
    """Call off what waits, but for the last jobs: more came in than two workers compute."""
    for job_id in cluster.accepted[:-COMPUTED]:
        with contextlib.suppress(IllegalTransition, NotFound):  # it has ended, or is lost
            cluster.cancel(job_id)


class Load:
    """Clients that submit all the time."""

    def __init__(self, cluster: Cluster, url: str, threads: int = 4) -> None:
        self._clients = [Client(cluster, url) for _ in range(threads)]
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(c,)) for c in self._clients]

    def __enter__(self) -> "Load":
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        for client in self._clients:
            client.http.close()

    @property
    def refused(self) -> int:
        """How many submissions heard 503 with Retry-After."""
        return sum(each.refused for each in self._clients)

    @property
    def complaints(self) -> list[str]:
        """Every answer that should not have been."""
        return [words for each in self._clients for words in each.complaints]

    def _run(self, client: Client) -> None:
        while not self._stopping.wait(len(self._clients) / PER_SECOND):
            client.submit()
