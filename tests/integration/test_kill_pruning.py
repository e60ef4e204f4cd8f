"""A pruning whose child is killed ends as an undisturbed one does; a cancelled one leaves nothing.

That it may be stopped in any stage is tested beside its pipeline.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.domain.jobs import JobId, JobState, QueueName
from core.domain.prunings import Architecture, PruneSpec, Pruning
from core.execution.supervisor import Supervisor
from core.services import jobs, prunings
from tests.integration.test_shared_jobs import Place
from tests.unit.execution.bench import eventually

DOOM = 5  # the checkpoint amid the training, with the mask that was searched for
pytestmark = pytest.mark.slow


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.at(tmp_path)


@pytest.fixture
def supervisor(place: Place) -> Supervisor:
    command = sys.executable, "-m", "tests.integration.doomed_child", str(place.folder)
    return Supervisor(place.sessions, place.settings, "test:1", child_command=command)


def asked(place: Place, **changes: Any) -> JobId:
    spec = PruneSpec(
        place.dataset, Architecture.RESNET18, share=0.25, epochs=2, retrain_epochs=2,
        batch_size=24,
    )  # fmt: skip
    with place.sessions.begin() as session:
        return prunings.submit(session, replace(spec, **changes))[1].id


def found(place: Place, job_id: JobId) -> Pruning:
    with place.sessions.read() as session:
        return prunings.by_job(session, job_id)


def weights(pruning: Pruning) -> str:
    return {each.name: each.sha256 for each in pruning.artifacts}["model.safetensors"]


def test_a_killed_pruning_goes_on_and_ends_the_same(place: Place, supervisor: Supervisor) -> None:
    undisturbed = asked(place)
    assert supervisor.run_next(QueueName.GPU)
    assert place.job(undisturbed).attempt == 1
    (place.folder / str(DOOM)).touch()
    killed = asked(place)
    for _ in range(2):
        assert supervisor.run_next(QueueName.GPU)
    job = place.job(killed)
    assert (job.state, job.attempt, job.error_message) == (JobState.SUCCEEDED, 2, None)
    (resumed,) = place.told(killed, "resume")
    assert resumed["step"] in (DOOM - 1, DOOM)  # it may have been on its way
    first, second = found(place, undisturbed), found(place, killed)
    assert first.mask == second.mask
    assert weights(first) == weights(second)
    for stage in ("mask", "train"):
        assert place.told(killed, stage)[-1] == place.told(undisturbed, stage)[-1]


def test_a_cancelled_pruning_leaves_nothing(place: Place, supervisor: Supervisor) -> None:
    job_id = asked(place, epochs=10_000)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(supervisor.run_next, QueueName.GPU)
        eventually(lambda: bool(place.told(job_id, "mask")), seconds=120)
        with place.sessions.begin() as session:
            jobs.cancel(session, job_id)
        assert running.result(timeout=60)
    assert place.job(job_id).state is JobState.CANCELLED
    assert (found(place, job_id).mask, found(place, job_id).artifacts) == (None, ())
    assert list((place.settings.home / "scratch").iterdir()) == []
