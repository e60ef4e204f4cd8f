"""A real Redis, a real PostgreSQL and real workers in processes of their own."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import httpx
import psutil
import pytest
import redis
from celery import Celery

from api.app import create_app
from core import bootstrap
from core.config import Settings
from core.db import schema
from core.domain.jobs import JobId, JobState, QueueName
from core.services import jobs
from tests.fixtures.projects import of_project
from tests.fixtures.redis import OwnServer
from tests.unit.api import archives
from tests.unit.execution.bench import QUICK, alive, eventually, job_of, settings_for, submit
from tests.unit.execution.test_gpus import smi
from worker.__main__ import QUIET

pytestmark = pytest.mark.services
TIMINGS = QUICK.model_copy(update={"lease": 3.0, "self_stop": 2.0})
PATIENCE = 90.0  # for a machine that has much else to do
NEVER = 3600.0  # a sweep that will not come: whatever starts then was started by a hint
SCENARIOS = ("-m", "celery", "-A", "tests.unit.execution.scenario_worker", "worker", *QUIET)


@dataclass
class Cluster:
    """What the serving side holds, and a way to start workers."""

    folder: Path
    container: bootstrap.Container

    @contextmanager
    def worker(
        self,
        scenario: str = "succeed",
        *options: str,
        program: Sequence[str] = SCENARIOS,
        sweep: float = TIMINGS.sweep,
        **more: str,
    ) -> "Iterator[subprocess.Popen[bytes]]":
        """A worker that is killed at the end, unless it has gone by itself."""
        with (self.folder / "worker.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *program, "--queues", "cpu,gpu", *options],
                env={**self._environment(scenario, sweep), **more},
                stdout=log,
                stderr=log,
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def _environment(self, scenario: str, sweep: float) -> dict[str, str]:
        settings = self.container.settings
        timings = settings.jobs.model_copy(update={"sweep": sweep})
        names = ("heartbeat", "lease", "self_stop", "sweep", "cancel_grace", "drain_grace")
        return {
            **os.environ,
            **{f"HEADSTART_JOBS__{name.upper()}": str(getattr(timings, name)) for name in names},
            "HEADSTART_HOME": str(settings.home),
            "HEADSTART_DATABASE_URL": settings.database,
            "HEADSTART_REDIS_URL": str(settings.redis_url),
            "HEADSTART_LOG_FORMAT": "json",
            "SCENARIO": scenario,
            "SCENARIO_FOLDER": str(self.folder),
        }

    def log(self) -> str:
        return (self.folder / "worker.log").read_text()

    def sender(self) -> Celery:
        return Celery("stranger", broker=self.container.settings.redis_url, set_as_current=False)

    def submit(self, embedder: str = "default") -> JobId:
        return submit(self.container.sessions, embedder)

    def ring(self, job_id: JobId) -> None:
        self.container.queue.announce(job_id, QueueName.CPU)

    def state(self, job_id: JobId) -> JobState:
        return job_of(self.container.sessions, job_id).state

    def succeeds(self, job_id: JobId) -> None:
        eventually(lambda: self.state(job_id) is JobState.SUCCEEDED, seconds=PATIENCE)

    def listens(self) -> None:
        """Wait until a worker consumes from the broker."""
        eventually(lambda: " ready." in self.log(), seconds=PATIENCE)

    def listens_again(self) -> None:
        """Wait until it does so after it had lost the broker."""
        eventually(lambda: self.log().count("Connected to") == 2, seconds=PATIENCE)

    def health(self) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "worker.health"],
            env=self._environment("", TIMINGS.sweep),
            capture_output=True,
            text=True,
            check=False,
        )


@contextmanager
def clustered(folder: Path, database: str, broker: str) -> Iterator[Cluster]:
    schema.migrate(database)
    settings: Settings = settings_for(
        folder / "home", TIMINGS, database_url=database, redis_url=broker
    )
    container = of_project(bootstrap.build(settings))
    try:
        yield Cluster(folder, container)
    finally:
        container.close()


@pytest.fixture
def cluster(tmp_path: Path, postgres_url: str, redis_url: str) -> Iterator[Cluster]:
    """A migrated database and an empty broker."""
    with clustered(tmp_path, postgres_url, redis_url) as made:
        yield made


@pytest.fixture
def deaf(tmp_path: Path, postgres_url: str, own_redis: OwnServer) -> Iterator[Cluster]:
    """A migrated database, and a broker that does not run until the test starts it."""
    with clustered(tmp_path, postgres_url, own_redis.url) as made:
        yield made


def test_a_hint_makes_a_worker_run_a_job_whatever_else_is_in_the_queue(cluster: Cluster) -> None:
    with cluster.sender() as stranger:
        stranger.send_task("no.such.task", args=[1], queue="cpu")
        stranger.send_task("jobs.run", args=["no-such-queue"], queue="cpu")
        stranger.send_task("jobs.run", args=["cpu"], queue="cpu")  # early: nothing waits yet
        stranger.send_task("jobs.run", args=["cpu"], queue="cpu", serializer="pickle")
    with redis.Redis.from_url(str(cluster.container.settings.redis_url)) as client:
        client.lpush("cpu", b"no JSON at all", b"[]", b'{"body": 7}')
    with cluster.worker(sweep=NEVER) as worker:
        eventually(lambda: "no.such.task" in cluster.log(), seconds=PATIENCE)
        eventually(lambda: cluster.log().count("message_dropped") == 3, seconds=PATIENCE)
        job_id = cluster.submit()
        cluster.container.queue.check()
        cluster.ring(job_id)
        cluster.succeeds(job_id)
        assert worker.poll() is None
    assert job_of(cluster.container.sessions, job_id).attempt == 1
    assert str(job_id) in cluster.log()


def test_one_hint_is_enough_for_all_that_waits(cluster: Cluster) -> None:
    with cluster.worker(sweep=NEVER):
        cluster.listens()
        waiting = [cluster.submit(f"embedder-{number}") for number in range(5)]
        assert len(set(waiting)) == 5
        cluster.ring(waiting[0])
        for job_id in waiting:
            cluster.succeeds(job_id)


def test_jobs_start_where_no_broker_has_ever_been(deaf: Cluster) -> None:
    with deaf.worker() as worker:
        job_id = deaf.submit()
        deaf.succeeds(job_id)
        assert worker.poll() is None
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(timeout=PATIENCE) == 0
    assert "Connected to" not in deaf.log()


def test_a_worker_outlives_its_broker_and_hears_it_again(
    deaf: Cluster, own_redis: OwnServer
) -> None:
    own_redis.start()
    with deaf.worker() as worker:
        deaf.listens()
        own_redis.stop()
        silent = deaf.submit("while-it-is-away")
        deaf.ring(silent)  # as the API does; fails in a moment
        deaf.succeeds(silent)
        own_redis.start()
        deaf.listens_again()
        assert worker.poll() is None


def test_hints_work_again_after_an_outage(deaf: Cluster, own_redis: OwnServer) -> None:
    own_redis.start()
    with deaf.worker(sweep=NEVER):
        deaf.listens()
        own_redis.stop()
        lost = deaf.submit("lost-with-the-broker")
        deaf.ring(lost)
        eventually(lambda: "Trying again" in deaf.log(), seconds=PATIENCE)
        assert deaf.state(lost) is JobState.QUEUED
        own_redis.start()
        deaf.listens_again()
        heard = deaf.submit("heard")
        deaf.ring(heard)
        deaf.succeeds(heard)
        deaf.succeeds(lost)


@pytest.mark.parametrize("slots", [1, 2])
def test_no_more_jobs_at_once_than_slots_whoever_woke_them(cluster: Cluster, slots: int) -> None:
    many = [cluster.submit(f"embedder-{number}") for number in range(slots + 1)]

    def running() -> int:
        return sum(cluster.state(job_id) is JobState.RUNNING for job_id in many)

    with cluster.worker("wait", "--concurrency", str(slots)):
        eventually(lambda: running() == slots, seconds=PATIENCE)
        cluster.listens()
        for job_id in many:
            cluster.ring(job_id)
        end = time.monotonic() + 10 * TIMINGS.sweep
        while time.monotonic() < end:
            assert running() == slots
            time.sleep(0.02)
        (cluster.folder / "enough").touch()
        for job_id in many:
            cluster.succeeds(job_id)


def test_a_busy_worker_leaves_hints_to_others(cluster: Cluster) -> None:
    with cluster.worker("wait", sweep=NEVER):
        cluster.listens()
        first = cluster.submit("first")
        cluster.ring(first)
        eventually(lambda: cluster.state(first) is JobState.RUNNING, seconds=PATIENCE)
        second = cluster.submit("second")
        cluster.ring(second)
        time.sleep(0.5)
        with redis.Redis.from_url(str(cluster.container.settings.redis_url)) as client:
            assert client.llen("cpu") == 1
        with cluster.worker("succeed", sweep=NEVER):
            cluster.succeeds(second)
        assert cluster.state(first) is JobState.RUNNING


async def uploaded(cluster: Cluster) -> JobId:
    """A dataset through the API of this cluster; the job that embeds it."""
    transport = httpx.ASGITransport(create_app(cluster.container))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        answer = await client.post(
            "/v1/datasets?name=Animals",
            content=archives.zipped(archives.class_folders()),
            headers={"Content-Type": "application/zip"},
        )
    assert answer.status_code == httpx.codes.CREATED, answer.text
    return JobId(UUID(answer.json()["embed_job"]["id"]))


def test_python_m_worker_does_what_the_api_took_on(cluster: Cluster) -> None:
    with cluster.worker(program=("-m", "worker")) as worker:
        job_id = asyncio.run(uploaded(cluster))
        cluster.succeeds(job_id)
        assert cluster.health().returncode == 0
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(timeout=PATIENCE) == 0
    lines = [json.loads(line) for line in cluster.log().splitlines() if line.startswith("{")]
    assert [line["attempt"] for line in lines if line["event"] == "job_claimed"] == [1]


@pytest.mark.slow
def test_python_m_worker_starts_one_for_each_gpu(cluster: Cluster, tmp_path: Path) -> None:
    cards = 'echo "0, GPU-a, Card, 580.65.06, 81920"; echo "1, GPU-b, Card, 580.65.06, 81920"'
    shown = {
        "PATH": f"{smi(tmp_path, cards)}:{os.environ['PATH']}",
        "HEADSTART_WORKER_GPUS": "all",
        "HEADSTART_DEVICE": "cpu",  # the cards are made of paper
    }
    with cluster.worker(program=("-m", "worker"), **shown) as worker:
        job_id = asyncio.run(uploaded(cluster))
        cluster.succeeds(job_id)
        eventually(lambda: cluster.health().returncode == 0, seconds=PATIENCE)
        fleet = psutil.Process(worker.pid).children()
        assert {each.environ()["CUDA_VISIBLE_DEVICES"] for each in fleet} == {"GPU-a", "GPU-b"}
        fleet[0].kill()
        eventually(lambda: len(psutil.Process(worker.pid).children()) == 2, seconds=PATIENCE)
        eventually(lambda: cluster.log().count(" ready.") == 3, seconds=PATIENCE)
        again = psutil.Process(worker.pid).children()
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(timeout=PATIENCE) == 0
    assert not any(alive(each.pid) for each in (*fleet, *again))


def test_a_worker_that_lost_its_gpu_is_ill_and_its_job_goes_to_another(cluster: Cluster) -> None:
    job_id = cluster.submit()
    with cluster.worker("lose_device", HEADSTART_DEVICE="cuda"):
        eventually(lambda: "has lost its GPU" in cluster.health().stderr, seconds=PATIENCE)
        cluster.succeeds(job_id)  # on its CPU, as this is no GPU job
    assert job_of(cluster.container.sessions, job_id).attempt == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [(("--pool", "threads"), "leave --pool out"), (("--queues", "gup"), "gup")],
)
def test_a_worker_that_could_not_work_does_not_start(
    cluster: Cluster, options: tuple[str, ...], words: str
) -> None:
    with cluster.worker("succeed", *options) as worker:
        assert worker.wait(timeout=PATIENCE) != 0
    assert words in cluster.log()


def test_the_health_check_follows_the_loop(cluster: Cluster) -> None:
    assert "No worker has begun" in cluster.health().stderr
    with cluster.worker():
        cluster.succeeds(cluster.submit())
        said = cluster.health()
        assert (said.returncode, said.stderr) == (0, "")


def test_sigterm_drains_the_worker(cluster: Cluster) -> None:
    job_id = cluster.submit()
    cluster.ring(job_id)
    with cluster.worker("wait") as worker:
        eventually((cluster.folder / "ready").exists, seconds=PATIENCE)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(timeout=PATIENCE) == 0
    assert not alive(int((cluster.folder / "pid").read_text()))
    with cluster.container.sessions.read() as session:
        assert [event.reason for event in jobs.events(session, job_id)][-1] == "drained"
    assert job_of(cluster.container.sessions, job_id).attempt == 0


def test_kill_9_of_a_worker_is_healed_by_another(cluster: Cluster) -> None:
    job_id = cluster.submit()
    cluster.ring(job_id)
    with cluster.worker("wait") as worker:
        eventually((cluster.folder / "ready").exists, seconds=PATIENCE)
        worker.kill()
        worker.wait()
    eventually(lambda: not alive(int((cluster.folder / "pid").read_text())))
    (cluster.folder / "enough").touch()
    with cluster.worker("wait"):
        cluster.succeeds(job_id)
    assert job_of(cluster.container.sessions, job_id).attempt == 2
