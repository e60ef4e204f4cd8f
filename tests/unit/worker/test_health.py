"""A worker is ill when its loop stands still, or when it idles while jobs wait."""

import shutil
import time
from pathlib import Path

import pytest

from core.config import Settings
from core.db.sessions import Sessions
from core.domain.identity import DEFAULT
from core.domain.jobs import QueueName
from tests.unit.execution.bench import submit
from worker.beat import NAME, Beat, expect
from worker.health import PATIENCE_SECONDS, complaint

pytestmark = pytest.mark.usefixtures("no_patience")
CPU, GPU = QueueName.CPU, QueueName.GPU


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs that were submitted this instant have waited too long already."""
    monkeypatch.setattr("worker.health.PATIENCE_SECONDS", 0.2)


@pytest.fixture
def settings(tmp_path: Path, migrated_sqlite: Path) -> Settings:
    shutil.copy(migrated_sqlite, tmp_path / "headstart.db")
    return Settings.model_validate({"home": tmp_path, "jobs": {"sweep": 0.01}})


def beat(settings: Settings, *queues: QueueName, idle: bool = True, age: float = 0.0) -> None:
    Beat(time.monotonic() - age, queues, idle).write(settings.home)


def queued(settings: Settings) -> None:
    """A job for the CPU queue that has waited for longer than anybody's patience."""
    sessions = Sessions(settings.database).within(DEFAULT)
    submit(sessions)
    sessions.dispose()
    time.sleep(0.3)


def test_without_a_beat_no_worker_has_begun(settings: Settings) -> None:
    assert "No worker has begun" in str(complaint(settings))
    (settings.home / NAME).write_text("{")
    assert "No worker has begun" in str(complaint(settings))


def test_a_fresh_beat_is_health_and_an_old_one_is_not(settings: Settings) -> None:
    beat(settings, CPU)
    assert complaint(settings) is None
    beat(settings, CPU, age=0.5)
    assert "has not gone round its loop" in str(complaint(settings))
    beat(settings, CPU, age=-5)  # of a time before the machine was started anew
    assert "has not gone round its loop" in str(complaint(settings))


def test_patience_grows_with_the_sweep(settings: Settings) -> None:
    beat(settings, CPU, age=0.5)
    slow = settings.model_copy(update={"jobs": settings.jobs.model_copy(update={"sweep": 10})})
    assert complaint(slow) is None


def test_an_idle_worker_must_not_leave_its_jobs_waiting(settings: Settings) -> None:
    queued(settings)
    beat(settings, CPU, idle=False)
    assert complaint(settings) is None
    beat(settings, GPU)
    assert complaint(settings) is None
    beat(settings, CPU, GPU)
    assert "while the worker idles" in str(complaint(settings))


def test_an_absent_database_is_no_fault_of_the_worker(settings: Settings) -> None:
    (settings.home / "headstart.db").unlink()
    beat(settings, CPU)
    assert complaint(settings) is None


def test_a_beat_replaces_the_last_one_and_leaves_nothing_else(settings: Settings) -> None:
    beat(settings, CPU)
    beat(settings, CPU, GPU, idle=False)
    last = Beat.read(settings.home)
    assert last is not None
    assert (last.queues, last.idle) == ((CPU, GPU), False)
    assert [path.name for path in settings.home.glob("worker-*")] == [NAME]


def test_a_worker_that_lost_its_gpu_is_to_be_started_anew(settings: Settings) -> None:
    Beat.now((GPU,), idle=False, quarantined=True).write(settings.home)
    assert "has lost its GPU" in str(complaint(settings))


def test_a_fleet_is_as_well_as_its_worst(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.health.PATIENCE_SECONDS", 60.0)
    beat(settings, GPU, age=500.0)  # of one that worked here alone
    expect(settings.home, range(11))
    assert "No worker has begun" in str(complaint(settings))
    for place in range(11):
        Beat.now((GPU,), idle=True).write(settings.home, place)
    assert complaint(settings) is None
    Beat(time.monotonic() - 500.0, (GPU,), True).write(settings.home, 10)
    assert "has not gone round its loop" in str(complaint(settings))
    expect(settings.home, ())
    beat(settings, GPU)
    assert complaint(settings) is None
    assert [path.name for path in settings.home.glob("worker-*")] == [NAME]


def test_the_default_patience_is_longer_than_a_start_may_take() -> None:
    assert PATIENCE_SECONDS > 45
