"""Two processes compute one job, through the real supervisor: one model, one end, no orphan."""

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from core.config import Settings, UploadLimits
from core.db import schema
from core.db.sessions import Sessions
from core.domain.datasets import DatasetId
from core.domain.identity import DEFAULT
from core.domain.jobs import Job, JobId, JobState, QueueName
from core.domain.searches import (
    Model,
    PretrainSpec,
    SearchSpec,
    Selection,
    SpaceSpec,
    StartPolicy,
    Training,
)
from core.execution.supervisor import Supervisor
from core.pipelines.ingest_dataset import ingest, outcome_of
from core.services import datasets, jobs, models, searches, supernets
from core.storage.local import LocalStore
from tests.unit.execution.bench import QUICK, alive, eventually, settings_for
from tests.unit.pipelines.conftest import striped_archive

SPACE = SpaceSpec(channels=2, layers=3, nodes=2, resolution=16)
TRAINING = Training(epochs=2, batch_size=12, seed=3)
EMBEDDER = "oriented-energy@1"
DOOM = 13  # batches: amid the second epoch

pytestmark = pytest.mark.slow


@dataclass
class Place:
    """A service's database and store with one dataset, and the folder of its children."""

    folder: Path
    settings: Settings
    sessions: Sessions
    dataset: DatasetId

    @classmethod
    def at(cls, folder: Path) -> "Place":
        settings = settings_for(folder / "home", QUICK, device="cpu", threads_per_job=2)
        schema.migrate(settings.database)
        sessions = Sessions(settings.database).within(DEFAULT)
        archive = folder / "stripes.zip"
        archive.write_bytes(striped_archive(classes=3, seed=0))
        (folder / "intake").mkdir()
        store = LocalStore(settings.home / "objects")
        found = ingest(
            archive, folder=folder / "intake", project=DEFAULT, store=store, limits=UploadLimits()
        )
        with sessions.begin() as session:
            dataset, _ = datasets.take_in(session, outcome_of(found), name="stripes")
        return cls(folder, settings, sessions, dataset.id)

    def submit(self) -> JobId:
        spec = SearchSpec(
            dataset_id=self.dataset,
            embedder=EMBEDDER,
            policy=StartPolicy.COLD,
            space=SPACE,
            training=TRAINING,
            learning_rates=(0.05,),
            patience=0,
            retrain_epochs=2,
            selection=Selection.MAGNITUDE,
            contribute=True,
        )
        with self.sessions.begin() as session:
            return searches.submit_search(session, spec)[1].id

    def supervisor(self, processes: int = 2, threads: int = 2) -> Supervisor:
        changes = {"processes_per_job": processes, "threads_per_job": threads}
        return Supervisor(
            self.sessions,
            self.settings.model_copy(update=changes),
            "test:1",
            child_command=(
                sys.executable,
                "-m",
                "tests.integration.shared_child",
                str(self.folder),
            ),
        )

    def job(self, job_id: JobId) -> Job:
        with self.sessions.read() as session:
            return jobs.get(session, job_id)

    def told(self, job_id: JobId, stage: str) -> list[dict[str, Any]]:
        """What the job has told of a stage, without what a clock says."""
        with self.sessions.read() as session:
            found = jobs.records(session, job_id, stage=stage)
        clocks = {"seconds", "elapsed"}
        return [
            {name: value for name, value in each.values.items() if name not in clocks}
            for each in found
        ]

    def model(self, job_id: JobId) -> Model:
        with self.sessions.read() as session:
            search = searches.by_job(session, job_id)
            found, _ = models.listing(session, limit=100)
        (own,) = [each for each in found if each.search_id == search.id]
        return own

    def pids(self) -> list[int]:
        found = [self.folder / f"pid-{rank}" for rank in (0, 1)]
        eventually(lambda: all(path.exists() and path.read_text() for path in found), seconds=120)
        return [int(path.read_text()) for path in found]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place.at(tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="module")
def undisturbed(place: Place) -> JobId:
    job_id = place.submit()
    assert place.supervisor().run_next(QueueName.GPU)
    return job_id


def test_two_processes_make_one_model(place: Place, undisturbed: JobId) -> None:
    job = place.job(undisturbed)
    assert (job.state, job.attempt, job.error_message) == (JobState.SUCCEEDED, 1, None)
    assert [row["epoch"] for row in place.told(undisturbed, "search:0")] == [0, 1, 2]
    assert [row["epoch"] for row in place.told(undisturbed, "retrain")] == [0, 1, 2]
    assert place.model(undisturbed).artifact("model.onnx") is not None
    first, second = place.pids()
    assert first != second
    assert not alive(first)
    assert not alive(second)
    assert list((place.settings.home / "scratch").iterdir()) == []


def test_one_process_begins_alike_and_takes_as_many_steps(
    place: Place, undisturbed: JobId
) -> None:
    job_id = place.submit()
    assert place.supervisor(processes=1, threads=1).run_next(QueueName.GPU)
    alone, shared = (place.told(each, "search:0") for each in (job_id, undisturbed))
    assert alone[0] == shared[0]  # measured before any step
    assert [row["steps"] for row in alone] == [row["steps"] for row in shared]
    rates = [[row["learning_rate"] for row in each] for each in (alone, shared)]
    assert rates[0] == rates[1]
    assert alone[1] != shared[1]  # statistics are of half a batch: it did take two


def test_a_killed_process_ends_the_attempt_and_the_next_one_ends_the_same(
    place: Place, undisturbed: JobId
) -> None:
    (place.folder / "doom").write_text(str(DOOM))
    job_id = place.submit()
    supervisor = place.supervisor()
    assert supervisor.run_next(QueueName.GPU)
    job = place.job(job_id)
    assert (job.state, job.attempt, job.resume_reason) == (JobState.QUEUED, 1, "worker_lost")
    assert not any(alive(pid) for pid in place.pids())
    assert supervisor.run_next(QueueName.GPU)
    assert (place.job(job_id).state, place.job(job_id).attempt) == (JobState.SUCCEEDED, 2)
    (resumed,) = place.told(job_id, "resume")
    assert resumed["step"] == 2
    for stage in ("search:0", "retrain"):
        assert place.told(job_id, stage) == place.told(undisturbed, stage)
    for name in ("genotype.json", "model.safetensors", "model.onnx"):
        ours, theirs = (place.model(each).artifact(name) for each in (job_id, undisturbed))
        assert ours is not None
        assert theirs is not None
        assert ours.sha256 == theirs.sha256


def test_cancel_ends_both(place: Place) -> None:
    (place.folder / "slowly").write_text("1.0")
    job_id = place.submit()
    try:
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(place.supervisor().run_next, QueueName.GPU)
            eventually(lambda: bool(place.told(job_id, "search:0")), seconds=240)
            both = place.pids()
            assert all(alive(pid) for pid in both)
            with place.sessions.begin() as session:
                jobs.cancel(session, job_id)
            assert running.result(timeout=30)
    finally:
        (place.folder / "slowly").unlink()
    assert place.job(job_id).state is JobState.CANCELLED
    eventually(lambda: not any(alive(pid) for pid in both))


def test_two_processes_pretrain_one_supernet(place: Place) -> None:
    spec = PretrainSpec(place.dataset, "shared", EMBEDDER, SPACE, TRAINING)
    with place.sessions.begin() as session:
        job_id = searches.submit_pretrain(session, spec).id
    assert place.supervisor().run_next(QueueName.GPU)
    job = place.job(job_id)
    assert (job.state, job.error_message) == (JobState.SUCCEEDED, None)
    assert [row["epoch"] for row in place.told(job_id, "pretrain")] == [0, 1, 2]
    with place.sessions.read() as session:
        found, _ = supernets.listing(session, limit=100)
    assert [each.name for each in found].count("shared") == 1
