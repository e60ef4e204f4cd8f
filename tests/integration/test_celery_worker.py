"""A real Redis, a real PostgreSQL and a real Celery worker in a process of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from celery import Celery

from core import bootstrap
from core.config import Settings
from core.db import schema
from core.domain.jobs import JobState, QueueName
from core.services import jobs
from tests.unit.execution.bench import QUICK, alive, eventually, job_of, settings_for, submit

pytestmark = pytest.mark.services
TIMINGS = QUICK.model_copy(update={"lease": 3.0, "self_stop": 2.0})


@dataclass
class Cluster:
    """What the serving side holds, and a way to start workers."""

    folder: Path
    container: bootstrap.Container

    @contextmanager
    def worker(self, scenario: str) -> "Iterator[subprocess.Popen[bytes]]":
        """A worker that is killed at the end, unless it has gone by itself."""
        settings = self.container.settings
        timings = {
            f"HEADSTART_JOBS__{name.upper()}": str(getattr(settings.jobs, name))
            for name in ("heartbeat", "lease", "self_stop", "sweep", "cancel_grace")
        }
        environment = {
            **os.environ,
            **timings,
            "HEADSTART_HOME": str(settings.home),
            "HEADSTART_DATABASE_URL": settings.database,
            "HEADSTART_REDIS_URL": str(settings.redis_url),
            "HEADSTART_LOG_FORMAT": "json",
            "SCENARIO": scenario,
            "SCENARIO_FOLDER": str(self.folder),
        }
        with (self.folder / "worker.log").open("ab") as log:
            app = "tests.unit.execution.scenario_worker"
            process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", app, "worker", "--queues", "cpu,gpu"],
                env=environment,
                stdout=log,
                stderr=log,
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def log(self) -> str:
        return (self.folder / "worker.log").read_text()

    def sender(self) -> Celery:
        return Celery("stranger", broker=self.container.settings.redis_url, set_as_current=False)


@pytest.fixture
def cluster(tmp_path: Path, postgres_url: str, redis_url: str) -> Iterator[Cluster]:
    """A migrated database and an empty broker."""
    schema.migrate(postgres_url)
    settings: Settings = settings_for(
        tmp_path / "home", TIMINGS, database_url=postgres_url, redis_url=redis_url
    )
    container = bootstrap.build(settings)
    yield Cluster(tmp_path, container)
    container.close()


def test_a_hint_makes_a_worker_run_a_job_whatever_else_is_in_the_queue(cluster: Cluster) -> None:
    with cluster.sender() as stranger:
        stranger.send_task("no.such.task", args=[1], queue="cpu")
        stranger.send_task("jobs.run", args=["no-such-queue"], queue="cpu")
        stranger.send_task("jobs.run", args=["cpu"], queue="cpu")  # early: nothing waits yet
        stranger.send_task("jobs.run", args=["cpu"], queue="cpu", serializer="pickle")
    with redis.Redis.from_url(str(cluster.container.settings.redis_url)) as client:
        client.lpush("cpu", b"no JSON at all", b"[]", b'{"body": 7}')
    with cluster.worker("succeed") as worker:
        eventually(lambda: "no.such.task" in cluster.log())
        job_id = submit(cluster.container.sessions)
        cluster.container.queue.check()
        cluster.container.queue.announce(job_id, QueueName.CPU)
        eventually(lambda: job_of(cluster.container.sessions, job_id).finished)
        # The early hint may fetch the job before the garbage behind it has been read.
        eventually(lambda: cluster.log().count("message_dropped") == 3)
        assert worker.poll() is None
    job = job_of(cluster.container.sessions, job_id)
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 1)
    assert str(job_id) in cluster.log()


def test_sigterm_drains_the_worker(cluster: Cluster) -> None:
    job_id = submit(cluster.container.sessions)
    cluster.container.queue.announce(job_id, QueueName.CPU)
    with cluster.worker("wait") as worker:
        eventually((cluster.folder / "ready").exists)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(timeout=20) == 0
    assert not alive(int((cluster.folder / "pid").read_text()))
    with cluster.container.sessions.read() as session:
        assert [event.reason for event in jobs.events(session, job_id)][-1] == "drained"
    assert job_of(cluster.container.sessions, job_id).attempt == 0


def test_kill_9_of_a_worker_is_healed_by_another(cluster: Cluster) -> None:
    job_id = submit(cluster.container.sessions)
    cluster.container.queue.announce(job_id, QueueName.CPU)
    with cluster.worker("wait") as worker:
        eventually((cluster.folder / "ready").exists)
        worker.kill()
        worker.wait()
    eventually(lambda: not alive(int((cluster.folder / "pid").read_text())))
    (cluster.folder / "enough").touch()
    with cluster.worker("wait"):
        eventually(lambda: job_of(cluster.container.sessions, job_id).finished)
    job = job_of(cluster.container.sessions, job_id)
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2)
