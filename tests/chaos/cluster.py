"""A cluster of real processes over real servers, small enough to be broken a thousand times.

Workers are `tests.chaos.player_worker`, which is `python -m worker` but for what its children
compute; the API is the deployed one. Each cluster has a database and a folder of its own.
"""

import contextlib
import itertools
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy.orm import Session

from core import bootstrap
from core.config import JobTimings, Settings, UploadLimits
from core.db import schema
from core.db.job_tables import JobRow
from core.domain.datasets import DatasetId
from core.domain.identity import DEFAULT
from core.domain.jobs import Job, JobId, JobState
from core.domain.searches import EmbedSpec, SearchSpec, SpaceSpec, StartPolicy, Training
from core.errors import NotFound
from core.services import datasets, jobs, searches
from core.services.jobs import MOST_URGENT
from tests.chaos import mutants, stores
from tests.chaos.player import Play
from tests.chaos.processes import PATIENCE, Servers, answers, until
from tests.chaos.stores import Storage
from tests.fixtures.postgres import fresh_database
from tests.fixtures.processes import Process
from tests.fixtures.projects import of_project
from tests.fixtures.servers import free_port
from tests.unit.execution.bench import REPORT
from tests.unit.pipelines.conftest import striped_archive

# Seconds instead of a minute, and still long enough for a machine that has much else to do.
# Delays between attempts would only be waited for.
QUICK = JobTimings(
    heartbeat=0.2,
    lease=6.0,
    self_stop=4.5,
    sweep=0.3,
    cancel_poll=0.2,
    cancel_grace=0.5,
    retry_delays=(0.0,),
)
PROJECT = Path(__file__).parents[2]
OBJECTS = "objects"
NUMBERS = itertools.count(1)


@dataclass
class Cluster:
    """A database, a store, and the processes around them."""

    servers: Servers
    folder: Path
    container: bootstrap.Container
    dataset: DatasetId
    processes: list[Process] = field(default_factory=list)
    accepted: list[JobId] = field(default_factory=list)
    cancelled: list[JobId] = field(default_factory=list)
    played: dict[JobId, Play] = field(default_factory=dict)
    mutant: str | None = None
    _images: DatasetId | None = None

    @property
    def settings(self) -> Settings:
        """Those of the serving side."""
        return self.container.settings

    @property
    def storage(self) -> Storage:
        """Where the objects are."""
        return self.settings.storage

    @property
    def objects(self) -> Path:
        """The store's root, if it is one of files."""
        return self.folder / OBJECTS

    @property
    def homes(self) -> set[Path]:
        """The folders in which the processes work."""
        return {Path(each.environment["HEADSTART_HOME"]) for each in self.processes}

    @property
    def traces(self) -> Path:
        """Where children write what they have done."""
        return self.folder / "traces"

    def worker(self, *options: str, slots: int = 1, **more: str) -> Process:
        """A worker that runs from now on; `more` is added to its environment."""
        name = f"worker-{len(self.processes)}"
        environment = self.environment(name, more)
        command = (sys.executable, "-m", "tests.chaos.player_worker", "--queues", "cpu,gpu")
        return self._run(name, (*command, "--concurrency", str(slots), *options), environment)

    def api(self, **more: str) -> tuple[Process, str]:
        """The deployed API, answering, and its address."""
        port = free_port()
        environment = self.environment("api", more)
        options = ("--host", "127.0.0.1", "--port", str(port), "--log-level", "warning")
        app = "api.main:create" if self.mutant is None else "tests.chaos.mutants:api"
        command = (sys.executable, "-m", "uvicorn", "--factory", app, *options)
        process = self._run(f"api-{len(self.processes)}", command, environment)
        url = f"http://127.0.0.1:{port}"
        until(lambda: answers(url), "the API answers")
        return process, url

    def next_play(self, kind: str, steps: int, milliseconds: int) -> Play:
        """A play with a number of its own."""
        return Play(kind, steps, milliseconds, next(NUMBERS))

    def play(self, kind: str, steps: int, milliseconds: int, *, max_attempts: int = 3) -> JobId:
        """Queue a played job through the services."""
        with self.container.sessions.begin() as session:
            job = self._submit(session, self.next_play(kind, steps, milliseconds))
            session.get_one(JobRow, job.id).max_attempts = max_attempts
        self.container.queue.announce(job.id, job.queue)
        return job.id

    def orphan(self, steps: int, milliseconds: int, *, max_attempts: int) -> JobId:
        """A played job in the hands of a worker that is dead, as far as anybody can tell.

        One that a sweep has just taken back from such a worker may come before a new one.
        """
        with self.container.sessions.begin() as session:
            job = self._submit(session, self.next_play("count", steps, milliseconds), MOST_URGENT)
            session.get_one(JobRow, job.id).max_attempts = max_attempts
            found = jobs.claim(session, queue=job.queue, owner="ghost", lease_seconds=0.1)
            assert found is not None
        return found.id

    def search(self, seed: int = 3, *, max_attempts: int) -> JobId:
        """Queue a real search, the smallest there is: two epochs, and two of retraining."""
        if self._images is None:
            self._images = register_images(self.container, self.folder)
        spec = SearchSpec(
            dataset_id=self._images,
            embedder=self.settings.embedder,
            policy=StartPolicy.COLD,
            space=SpaceSpec(channels=2, layers=3, nodes=1, resolution=8),
            training=Training(epochs=2, batch_size=8, seed=seed),
            learning_rates=(0.05,),
            retrain_epochs=2,
        )
        with self.container.sessions.begin() as session:
            _, job = searches.submit_search(session, spec)
            session.get_one(JobRow, job.id).max_attempts = max_attempts
        self.container.queue.announce(job.id, job.queue)
        self.accepted.append(job.id)
        return job.id

    def cancel(self, job_id: JobId) -> None:
        """Ask for the job's end. Raises IllegalTransition when it has come already."""
        with self.container.sessions.begin() as session:
            jobs.cancel(session, job_id)
        self.cancelled.append(job_id)

    def job(self, job_id: JobId) -> Job:
        """The job as it is."""
        with self.container.sessions.read() as session:
            return jobs.get(session, job_id)

    def ended(self, job_id: JobId) -> bool:
        """Whether it has; one that is not there (any more) will not do anything either."""
        try:
            return self.job(job_id).finished
        except NotFound:
            return True

    def cancelled_ends(self) -> dict[JobId, set[JobState]]:
        """That they are cancelled, for the jobs whose end was asked for."""
        return {job_id: {JobState.CANCELLED} for job_id in self.cancelled}

    def wait_for(self, job_id: JobId) -> float:
        """Wait for the job's end, and how long; raises TimeoutError."""
        return until(lambda: self.ended(job_id), f"job {job_id} ends", every=0.1)

    def wait_until_begun(self, job_id: JobId) -> None:
        """Wait until a child computes it; raises TimeoutError."""
        until(lambda: bool(self.begun(job_id)), f"job {job_id} runs")

    def wait_until_claimed(self, job_id: JobId, fence: int = 1) -> float:
        """Wait until it has been claimed that often, and how long; raises TimeoutError."""
        what = f"job {job_id} is claimed, {fence}"
        return until(lambda: self.job(job_id).fence >= fence or self.ended(job_id), what)

    def settle(self, seconds: float = PATIENCE) -> float:
        """Let all that waits or runs end, restarting who is dead; how long that took."""
        begun = time.monotonic()
        for job_id in list(self.accepted):
            while not self.ended(job_id) and time.monotonic() < begun + seconds:
                self.revive()
                time.sleep(0.1)
        return time.monotonic() - begun

    def revive(self) -> None:
        """Start every process again that has ended."""
        for process in self.processes:
            if not process.alive:
                process.start()

    def trace(self, job_id: JobId) -> list[tuple[int, list[str]]]:
        """What the job's children have written: fence and words, line by line."""
        path = self.traces / str(job_id)
        lines = path.read_text().splitlines() if path.exists() else []
        return [(int(line.split()[0]), line.split()[1:]) for line in lines]

    def begun(self, job_id: JobId) -> list[int]:
        """The processes that the job has had."""
        return [int(words[1]) for _, words in self.trace(job_id) if words[0] == "begun"]

    def close(self) -> None:
        """End every process."""
        for process in self.processes:
            process.send(signal.SIGKILL)
        for process in self.processes:
            process.close()
        self.container.close()

    def _submit(self, session: Session, play: Play, priority: int = 0) -> Job:
        spec = EmbedSpec(self.dataset, play.name)
        job = searches.submit_embed(session, spec, priority=priority)
        self.accepted.append(job.id)
        self.played[job.id] = play
        return job

    def _run(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> Process:
        folder, log = self.folder / "run" / name, self.folder / f"{name}.log"
        process = Process(command, environment, folder=folder, log=log)
        process.start()
        self.processes.append(process)
        return process

    def environment(self, name: str, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """What a process is told; its home is the folder of its name."""
        ours = ("HEADSTART_", "CHAOS_")
        kept = {name: text for name, text in os.environ.items() if not name.startswith(ours)}
        clocks = self.settings.jobs.model_dump()
        clocks["retry_delays"] = list(clocks["retry_delays"])
        return {
            **kept,
            **{f"HEADSTART_JOBS__{name.upper()}": str(each) for name, each in clocks.items()},
            "HEADSTART_HOME": str(self.folder / name),
            "HEADSTART_DATABASE_URL": self.settings.database,
            "HEADSTART_REDIS_URL": str(self.settings.redis_url),
            "HEADSTART_THREADS_PER_JOB": "1",
            "HEADSTART_ZOO": "off",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(PROJECT),
            "CHAOS_FOLDER": str(self.traces),
            **stores.environment(self.storage),
            **({} if self.mutant is None else {mutants.VARIABLE: self.mutant}),
            **(more or {}),
        }


@contextlib.contextmanager
def clustered(
    servers: Servers, timings: JobTimings = QUICK, *, mutant: str | None = None
) -> Iterator[Cluster]:
    """A cluster without processes yet, which has one dataset.

    With `mutant` its processes lack what `mutants` says.
    """
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(fresh_database(servers.postgres.url))
        schema.migrate(url)
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="headstart-chaos-")))
        (folder / "traces").mkdir()
        settings = Settings(
            home=folder / "home",
            database_url=url,
            redis_url=servers.redis.url,
            storage=stores.fresh(servers.s3, folder / OBJECTS),
            jobs=timings,
            zoo=False,
        )
        container = of_project(bootstrap.build(settings))
        with container.sessions.begin() as session:
            dataset, _ = datasets.register(
                session,
                sha256="a" * 64,
                name="played",
                classes=("0", "1"),
                train_counts=(8, 8),
                test_counts=(2, 2),
                channels=1,
                report=REPORT,
            )
        cluster = Cluster(servers, folder, container, dataset.id, mutant=mutant)
        stack.callback(cluster.close)
        yield cluster


def register_images(container: bootstrap.Container, folder: Path) -> DatasetId:
    """A real dataset, of two kinds of stripes, in the store and the database."""
    from core.pipelines.ingest_dataset import ingest, outcome_of

    archive = folder / "stripes.zip"
    archive.write_bytes(striped_archive(classes=2, seed=0, train=12, test=4))
    intake = folder / "intake"
    intake.mkdir()
    found = ingest(
        archive, folder=intake, project=DEFAULT, store=container.store, limits=UploadLimits()
    )
    with container.sessions.begin() as session:
        dataset, _ = datasets.take_in(session, outcome_of(found), name="stripes")
    return dataset.id
