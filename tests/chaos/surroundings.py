"""What lies around a worker fails it: its disk, its clock."""

import contextlib
import importlib.util
import os
import random
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from core.domain.jobs import JobId
from core.execution import failures
from core.services import jobs
from tests.chaos.cluster import QUICK, Cluster, clustered
from tests.chaos.processes import Servers, until
from tests.chaos.report import Row, judge

TIMINGS = QUICK.model_copy(update={"retry_delays": (0.5,)})
# A living worker must not be late, however busy the machine: that is what is judged.
CLOCKED = QUICK.model_copy(update={"lease": 15.0, "self_stop": 12.0})
SIZE = (4, 300)
DISK = "16m"  # room for what all runs keep, and quickly filled
SKEWS = ("+1h", "-1h")


def disk(servers: Servers, runs: int, seed: int) -> Row:
    """No room where the worker computes, where objects are kept, or on both, and then room again.

    The disks are file systems of 16 MiB in memory where this may mount one; else every job writes
    to /dev/full while there is no room. The worst seconds are those from room to the last job's
    end.
    """
    dice, worst, met = random.Random(seed), 0.0, 0
    with clustered(servers, TIMINGS) as cluster, contextlib.ExitStack() as stack:
        disks = [cluster.folder / name for name in ("worker-0", "objects")]
        mounts = [stack.enter_context(small(each)) for each in disks]
        mounted = all(mounts)
        switch = cluster.folder / "no-room"
        cluster.worker(slots=2, CHAOS_NO_ROOM=str(switch))
        for number in range(runs):
            chosen = disks[: 1 + number % 2] if number % 3 else disks[1:]
            ids = [cluster.play("count" if mounted else "full", *SIZE) for _ in range(4)]
            cluster.wait_until_begun(ids[number % 2])
            time.sleep(dice.uniform(0, 1))
            with contextlib.ExitStack() as room:
                for each in chosen if mounted else []:
                    room.enter_context(filled(each))
                room.enter_context(present(switch))
                # Some meet it, or all were quicker than it.
                until(lambda: _met(cluster, ids) or all(map(cluster.ended, ids)), "no room")  # noqa: B023
                time.sleep(dice.uniform(0, 1))
            begun = time.monotonic()
            for job_id in ids:
                cluster.wait_for(job_id)
            worst = max(worst, time.monotonic() - begun)
            met += _met(cluster, ids)
        cluster.settle()
        fault = f"disk full ({'file systems of 16 MiB' if mounted else '/dev/full'}), then not"
        return judge(
            cluster, fault, runs=runs, worst=worst, complaints=[] if met else ["none was full"]
        )


def _met(cluster: Cluster, ids: Sequence[JobId]) -> bool:
    """Whether an attempt at one of the jobs has ended for want of room."""
    with cluster.container.sessions.read() as session:
        return any(
            event.reason == failures.STORAGE_FULL
            for job_id in ids
            for event in jobs.events(session, job_id)
        )


@contextlib.contextmanager
def present(file: Path) -> Iterator[None]:
    """A file that is there meanwhile."""
    file.touch()
    try:
        yield
    finally:
        file.unlink()


@contextlib.contextmanager
def small(folder: Path) -> Iterator[bool]:
    """A file system of its own for the folder; False where none may be mounted."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "headstart-chaos", str(folder)]
    mounted = os.getuid() == 0 and subprocess.run(command, capture_output=True).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Leave no byte free there."""
    ballast = folder / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(b"0" * 4096):
            pass
    try:
        yield
    finally:
        ballast.unlink()


def clocks(servers: Servers, runs: int, seed: int) -> Row:
    """One worker an hour ahead, one an hour behind: who lives is left alone, who dies is found.

    Every fourth job loses its worker. The worst seconds are those until a lost one was claimed.
    """
    worst, complaints = 0.0, list[str]()
    shifted = {"LD_PRELOAD": str(faketime()), "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    with clustered(servers, CLOCKED) as cluster:
        workers = [cluster.worker(**shifted, FAKETIME=skew) for skew in SKEWS]
        for number in range(runs):
            job_id = cluster.play("count", 10, 500 if number % 4 == 0 else 50)
            if number % 4 == 0:
                cluster.wait_until_begun(job_id)
                owner = cluster.job(job_id).lease_owner or ""
                (victim,) = [each for each in workers if owner.endswith(f":{each.pid}")]
                victim.kill()
                took = cluster.wait_until_claimed(job_id, 2)
                worst = max(worst, took)
                if took < CLOCKED.lease - 2 * CLOCKED.heartbeat - 1:
                    complaints.append(f"{job_id} was taken back after {took:.1f} s")
                cluster.revive()
        cluster.settle()
        charged = [job_id for at, job_id in enumerate(cluster.accepted) if at % 4]
        complaints += [
            f"{job_id} was taken from a living worker"
            for job_id in charged
            if cluster.job(job_id).fence > 1
        ]
        fault = "clocks of workers an hour ahead and behind"
        return judge(cluster, fault, runs=runs, worst=worst, complaints=complaints)


def faketime() -> Path:
    """The library that shifts clocks, as the `libfaketime` wheel brings it."""
    found = importlib.util.find_spec("libfaketime")
    assert found is not None, "install the dev extra: libfaketime is missing"
    assert found.origin is not None
    folder = Path(found.origin).parent
    return next(folder.rglob("libfaketime.so.1"))
