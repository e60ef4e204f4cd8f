"""Reads again and again what a cluster holds: memory, descriptors, threads, connections, disk."""

import contextlib
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import psutil
import redis
from sqlalchemy import func, select, text

from core.db.job_tables import JobRow
from core.domain.jobs import TERMINAL, QueueName
from core.errors import Unavailable
from core.storage.keys import PARTIAL
from tests.chaos.cluster import Cluster
from tests.chaos.curves import Curve, Limit
from tests.fixtures.processes import Process

MIB = 2**20
LEAST_SECONDS, MOST_POINTS = 1.0, 360
# Two slots that are busy hold that much more than two that are idle: pipes, a connection each, a
# child and its twin. What one job in a hundred leaves behind is far more after some hours.
OF_A_PROCESS = {
    "memory": Limit("MiB", 1.0, 8.0),
    "descriptors": Limit("", 0.0, 12.0),
    "threads": Limit("", 0.0, 6.0),
}
OF_A_WORKER = {"children": Limit("", 0.0, 4.0)}
OF_ALL = {
    "database connections": Limit("", 0.0, 6.0),
    "Redis connections": Limit("", 0.0, 6.0),
    "hints in Redis": Limit("", 0.0, 100.0),  # those of a busy hour wait; there are 1,000 at most
    "jobs that wait or run": Limit("", 0.0, 6.0),
    "homes of API and workers": Limit("MiB", 0.1, 1.0),
    "half-written objects": Limit("", 0.0, 3.0),
    "objects for each ended job": Limit("", 0.0, 1.0),
}
Reading = Mapping[str, float]


class Gauges:
    """Reads while its block runs; `steady` are the processes that live through all of it."""

    def __init__(self, cluster: Cluster, steady: Mapping[str, Process], seconds: float) -> None:
        self._cluster, self._steady = cluster, steady
        self._every = max(LEAST_SECONDS, seconds / MOST_POINTS)
        self._points: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gauges")
        self._begun = 0.0

    def __enter__(self) -> "Gauges":
        self._begun = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()

    def curves(self) -> list[Curve]:
        """What was read, each with its limit."""
        limits = {
            f"{name}: {what}": limit
            for name in self._steady
            for what, limit in {
                **OF_A_PROCESS,
                **({} if name == "API" else OF_A_WORKER),
            }.items()
        }
        limits |= OF_ALL
        return [Curve(name, limit, self._points[name]) for name, limit in limits.items()]

    def _run(self) -> None:
        while not self._stopping.wait(self._every):
            at = time.monotonic() - self._begun
            for name, value in read(self._cluster, self._steady).items():
                self._points[name].append((at, value))


def read(cluster: Cluster, steady: Mapping[str, Process]) -> Reading:
    """What there is now; what a server would have to tell that is away just now is left out."""
    found: dict[str, float] = {}
    for name, process in steady.items():
        found |= {f"{name}: {what}": value for what, value in of_process(process.pid).items()}
    parts: Sequence[Callable[[Cluster], Reading]] = (_database, _redis, _disk)
    for part in parts:
        with contextlib.suppress(Unavailable, redis.RedisError):
            found |= part(cluster)
    return found


def of_process(pid: int) -> Reading:
    """What a process holds, and how many processes it has; nothing when it is gone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        with process.oneshot():
            return {
                "memory": process.memory_info().rss / MIB,
                "descriptors": process.num_fds(),
                "threads": process.num_threads(),
                "children": len(process.children(recursive=True)),
            }
    return {}


def _database(cluster: Cluster) -> Reading:
    ours = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
    open_jobs = select(func.count()).where(JobRow.state.not_in(TERMINAL))
    with cluster.container.sessions.read() as session:
        connections = session.scalar(ours) or 0
        waiting = session.scalar(open_jobs) or 0
    return {"database connections": connections, "jobs that wait or run": waiting}


def _redis(cluster: Cluster) -> Reading:
    with redis.Redis.from_url(str(cluster.settings.redis_url), socket_timeout=2) as client:
        hints = sum(client.llen(queue.value) for queue in QueueName)
        connections = client.info("clients")["connected_clients"]
    return {"hints in Redis": hints, "Redis connections": connections}


def _disk(cluster: Cluster) -> Reading:
    objects = [each.name for each in files(cluster.objects)]
    ended = select(func.count()).where(JobRow.state.in_(TERMINAL))
    with cluster.container.sessions.read() as session:
        count = session.scalar(ended) or 0
    partial = sum(name.startswith(PARTIAL) for name in objects)
    homes = sum(size(each) for home in cluster.homes for each in files(home))
    found = {"half-written objects": partial, "homes of API and workers": homes / MIB}
    return found | ({"objects for each ended job": len(objects) / count} if count else {})


def files(folder: Path) -> Iterator["os.DirEntry[str]"]:
    """Every file under a folder that others write to meanwhile."""
    try:
        with os.scandir(folder) as entries:
            found = list(entries)
    except FileNotFoundError:
        return
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            yield from files(Path(entry.path))
        else:
            yield entry


def size(entry: "os.DirEntry[str]") -> int:
    """In bytes; none when it is gone."""
    with contextlib.suppress(FileNotFoundError):
        return entry.stat(follow_symlinks=False).st_size
    return 0
