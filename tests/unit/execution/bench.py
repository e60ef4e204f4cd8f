"""A database, a dataset and a supervisor whose child plays a scenario."""

import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from core.config import JobTimings, Settings
from core.db.sessions import Sessions
from core.domain.datasets import DatasetReport
from core.domain.identity import DEFAULT
from core.domain.jobs import Job, JobId, QueueName
from core.domain.searches import EmbedSpec
from core.execution.supervisor import Supervisor
from core.services import datasets, jobs, searches

QUICK = JobTimings(
    heartbeat=0.1,
    lease=20,
    self_stop=15,
    sweep=0.2,
    cancel_grace=0.5,
    drain_grace=0.5,
    retry_delays=(0.0,),
)
REPORT = DatasetReport(
    problems=(),
    images_seen=20,
    images_kept=20,
    exact_duplicates=0,
    split="made",
    split_seed=0,
    modes={"L": 20},
    sizes={"8x8": 20},
)


def settings_for(home: Path, timings: JobTimings = QUICK, **others: object) -> Settings:
    return Settings.model_validate({"home": home, "jobs": timings, "slots": 1, **others})


def submit(sessions: Sessions, embedder: str = "default") -> JobId:
    with sessions.begin() as session:
        dataset, _ = datasets.register(
            session,
            sha256="a" * 64,
            name="digits",
            classes=("0", "1"),
            train_counts=(8, 8),
            test_counts=(2, 2),
            channels=1,
            report=REPORT,
        )
        return searches.submit_embed(session, EmbedSpec(dataset.id, embedder)).id


def job_of(sessions: Sessions, job_id: JobId) -> Job:
    with sessions.read() as session:
        return jobs.get(session, job_id)


def scenario_command(name: str, folder: Path) -> tuple[str, ...]:
    return (sys.executable, "-m", "tests.unit.execution.scenario", name, str(folder))


def eventually(condition: Callable[[], bool], *, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:  # an orphan may be a zombie until the init process fetches its status
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@dataclass
class Bench:
    folder: Path
    settings: Settings
    sessions: Sessions
    rings: list[JobId] = field(default_factory=list)

    @classmethod
    def at(cls, folder: Path, migrated: Path) -> "Bench":
        """With a database that is copied from a migrated one."""
        settings = settings_for(folder / "home")
        settings.home.mkdir()
        shutil.copy(migrated, settings.home / "headstart.db")
        return cls(folder, settings, Sessions(settings.database).within(DEFAULT))

    def submit(self) -> JobId:
        return submit(self.sessions)

    def job(self, job_id: JobId) -> Job:
        return job_of(self.sessions, job_id)

    def supervisor(
        self, scenario: str, timings: JobTimings | None = None, *, device: str = "auto"
    ) -> Supervisor:
        changes = {"jobs": timings or self.settings.jobs, "device": device}
        settings = self.settings.model_copy(update=changes)
        return Supervisor(
            self.sessions,
            settings,
            "test:1",
            announce=lambda job_id, _: self.rings.append(job_id),
            child_command=scenario_command(scenario, self.folder),
        )

    def run(self, scenario: str) -> Job:
        """Submit a job and run it until the queue is empty."""
        job_id = self.submit()
        supervisor = self.supervisor(scenario)
        while supervisor.run_next(QueueName.CPU):
            pass
        return self.job(job_id)

    def read(self, name: str) -> str:
        return (self.folder / name).read_text()

    def wait_for(self, name: str) -> None:
        eventually((self.folder / name).exists)
