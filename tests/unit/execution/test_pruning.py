"""Whoever runs jobs drops the checkpoints that newer ones have replaced, as they come."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.config import Settings
from core.db import schema
from core.db.sessions import Sessions
from core.domain import keys
from core.domain.identity import DEFAULT
from core.domain.jobs import Checkpoint, QueueName
from core.embedded import embedded
from core.services import jobs
from core.storage.local import LocalStore
from tests.unit.execution.bench import eventually, scenario_command, settings_for, submit
from worker.lifecycle import Lifecycle


@contextmanager
def one_process(settings: Settings, folder: Path) -> Iterator[None]:
    with embedded(settings, child_command=scenario_command("succeed", folder)):
        yield


@contextmanager
def a_worker(settings: Settings, folder: Path) -> Iterator[None]:
    lifecycle = Lifecycle(settings, child_command=scenario_command("succeed", folder))
    lifecycle.begin([QueueName.CPU], 1)
    try:
        yield
    finally:
        lifecycle.end()


@pytest.mark.parametrize("running", [one_process, a_worker])
def test_a_running_job_keeps_its_last_two(running: object, tmp_path: Path) -> None:
    settings = settings_for(tmp_path / "home")
    schema.migrate(settings.database)
    sessions, store = (
        Sessions(settings.database).within(DEFAULT),
        LocalStore(tmp_path / "home" / "objects"),
    )
    (tmp_path / "source").write_bytes(b"weights")
    job_id = submit(sessions)
    with sessions.begin() as session:
        job = jobs.claim(session, queue=QueueName.CPU, owner="elsewhere", lease_seconds=600)
    assert job is not None
    assert callable(running)
    with running(settings, tmp_path):
        for step in range(6):
            key = keys.attempt(DEFAULT, job_id, job.fence, f"checkpoints/{step}.bin")
            store.put(key, tmp_path / "source")
            with sessions.begin() as session:
                made = Checkpoint(job.fence, step, key, "0" * 64, 7)
                jobs.add_checkpoint(session, job_id, job.fence, made)
        eventually(lambda: len(list(store.listing(keys.jobs(DEFAULT)))) == 2)
        with sessions.read() as session:
            left = jobs.checkpoints(session, job_id)
    assert [each.step for each in left] == [5, 4]
    assert {each.key for each in store.listing(keys.jobs(DEFAULT))} == {each.key for each in left}
    sessions.dispose()


def test_one_process_collects_at_its_start(tmp_path: Path) -> None:
    folder = tmp_path / "home" / "objects" / "default" / "datasets"
    folder.mkdir(parents=True)
    old, young = folder / ".partial-old", folder / ".partial-young"
    for each in (old, young):
        each.write_bytes(b"half")
    days_ago = time.time() - 2 * 24 * 3600
    os.utime(old, (days_ago, days_ago))
    with one_process(settings_for(tmp_path / "home"), tmp_path):
        eventually(lambda: not old.exists())
    assert young.exists()  # somebody may be writing it
