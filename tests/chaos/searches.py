"""Real searches, interrupted: the answer is, to the bit, that of an undisturbed one."""

import contextlib
import os
import random
import signal
import time
from collections.abc import Sequence

from sqlalchemy import select

from core.db.job_tables import CheckpointRow
from core.db.result_tables import ModelRow, SearchRow
from core.domain.jobs import JobId
from core.services import jobs
from tests.chaos.cluster import Cluster, clustered
from tests.chaos.processes import Servers, until
from tests.chaos.report import Row, judge
from tests.fixtures.processes import Process

SEEDS = 2
ATTEMPTS = 10  # two deaths each at most, those of its neighbours, and what a busy machine costs
SAME = ("genotype.json", "model.safetensors", "model.onnx")


def interrupted(servers: Servers, runs: int, seed: int) -> Row:
    """kill -9 of a search's child or its supervisor, once or twice, after its first epoch.

    The genotype, the weights and the exported network are compared by their checksums; so is
    where the search went on: at the newest checkpoint that there was.
    """
    dice = random.Random(seed)
    complaints: list[str] = []
    with clustered(servers) as cluster:
        workers = [cluster.worker() for _ in range(min(2, runs))]
        undisturbed = [
            cluster.search(each, max_attempts=ATTEMPTS) for each in range(min(SEEDS, runs))
        ]
        for job_id in undisturbed:
            cluster.wait_for(job_id)
        models = [files(cluster, job_id) for job_id in undisturbed]
        assert all(set(each) == set(SAME) for each in models)
        worst, done = 0.0, 0
        while done < runs:
            batch = [
                (model, cluster.search(which, max_attempts=ATTEMPTS))
                for which, model in enumerate(models)
            ]
            for _, job_id in batch:
                _strike(cluster, workers, job_id, dice)
            begun = time.monotonic()
            cluster.settle()
            worst = max(worst, time.monotonic() - begun)
            for model, job_id in batch:
                done += cluster.job(job_id).fence > 1  # else it was quicker than the blow
                if files(cluster, job_id) != model:
                    complaints.append(f"{job_id} differs from the undisturbed one")
                complaints += stale_resumes(cluster, job_id)
        fault = "kill -9 of a real search: bit-equal in the end"
        return judge(cluster, fault, runs=done, worst=worst, complaints=complaints)


def files(cluster: Cluster, job_id: JobId) -> dict[str, str]:
    """The checksums of what the search's model consists of; empty without one."""
    statement = (
        select(ModelRow)
        .join(SearchRow, ModelRow.search_id == SearchRow.id)
        .where(SearchRow.job_id == job_id)
    )
    with cluster.container.sessions.read() as session:
        model = session.scalars(statement).first()
        artifacts = model.artifacts if model else ()
        return {each.name: each.sha256 for each in artifacts if each.name in SAME}


def _strike(
    cluster: Cluster, workers: Sequence[Process], job_id: JobId, dice: random.Random
) -> None:
    """Kill whoever computes the job, after its first checkpoint; every other time twice."""
    for _ in range(dice.choice((1, 2))):
        seen = _kept(cluster, job_id)
        until(lambda: _kept(cluster, job_id) > seen or cluster.ended(job_id), "a checkpoint")  # noqa: B023
        time.sleep(dice.uniform(0, 0.5))
        owner = cluster.job(job_id).lease_owner or ""
        for worker in workers:
            if owner.endswith(f":{worker.pid}") and not cluster.ended(job_id):
                strike(worker, dice.choice(("supervisor", "child")))
        cluster.revive()


def strike(worker: Process, whom: str) -> None:
    """Kill a worker or what it computes."""
    if whom == "supervisor":
        worker.kill()
        return
    for child in worker.children():
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def _kept(cluster: Cluster, job_id: JobId) -> int:
    with cluster.container.sessions.read() as session:
        found = select(CheckpointRow.fence).where(CheckpointRow.job_id == job_id)
        return len(session.scalars(found).all())


def stale_resumes(cluster: Cluster, job_id: JobId) -> list[str]:
    """Attempts that did not begin at the newest checkpoint of those before them.

    Replaced ones are dropped while a job runs: where none is left of the attempts before, what
    the attempt itself has said of its choice must do.
    """
    with cluster.container.sessions.read() as session:
        resumes = jobs.records(session, job_id, stage="resume")
        kept = [(each.fence, each.step) for each in jobs.checkpoints(session, job_id)]
    found = []
    for record in resumes:
        at, why = record.values["step"], record.values["reason"]
        before = [step for fence, step in kept if fence < record.step]
        if (before and at != max(before)) or (at is not None and why != "newest"):
            found.append(f"{job_id}: attempt {record.step} began at {at} ({why}), kept {before}")
    return found
