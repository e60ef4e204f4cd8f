"""The compose file's commands and environment, moved to loopback."""

import sys
from pathlib import Path

import pytest

from tests.cluster.composition import Composition
from tests.unit.deployment import compose
from tests.unit.deployment.environment import interpolated

GIVEN = {
    "POSTGRES_PASSWORD": "aaa",
    "REDIS_PASSWORD": "bbb",
    "STORAGE_ACCESS_KEY": "ccc",
    "STORAGE_SECRET_KEY": "ddd",
    "SECRET_KEY": "e" * 32,
    "CPU_WORKER_CPUS": "3",
}
PORTS = {"postgres": 15432, "redis": 16379, "storage": 19000, "api": 18000}
SERVICES = ("prepare", "api", "worker-cpu")
FOREIGN = ("postgres:", "redis:6", "storage:9", "0.0.0.0", ":8000", "/var/lib/headstart", "${")
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def file() -> Composition:
    return Composition(GIVEN, PORTS)


@pytest.mark.parametrize("name", SERVICES)
def test_nothing_of_the_containers_network_or_file_system_is_left(
    file: Composition, name: str
) -> None:
    words = [*file.command(name), *file.environment(name, Path("/here")).values()]
    assert [(word, each) for word in words for each in FOREIGN if each in word] == []


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_told_all_that_the_file_says(file: Composition, name: str) -> None:
    said = compose.environment(interpolated(compose.load()["services"], GIVEN)[name])
    told = file.environment(name, Path("/here"))
    assert said.keys() <= told.keys()
    assert told["HEADSTART_DATABASE_URL"].endswith("headstart:aaa@127.0.0.1:15432/headstart")
    assert told["HEADSTART_REDIS_URL"] == "redis://:bbb@127.0.0.1:16379/0"
    assert told["HEADSTART_STORAGE__ENDPOINT_URL"] == "http://127.0.0.1:19000"
    assert (told["HEADSTART_HOME"], told["HEADSTART_LOG_FORMAT"]) == ("/here", "json")
    unchanged = [n for n in said if not n.endswith("_URL")]
    assert [told[n] for n in unchanged] == [said[n] for n in unchanged]


def test_the_images_entry_points_run_here(file: Composition) -> None:
    worker = [str(BIN / "python"), "-m", "worker", "--queues", "cpu,gpu"]
    assert file.command("worker-cpu") == worker
    api = file.command("api")
    assert api[:3] == [str(BIN / "uvicorn"), "--factory", "api.main:create"]
    assert api[3:7] == ["--host", "127.0.0.1", "--port", "18000"]
    assert Path(file.command("prepare")[0]).parent == BIN


def test_a_worker_has_the_threads_that_it_was_given(file: Composition) -> None:
    told = file.environment("worker-cpu", Path("/here"))
    assert told["HEADSTART_THREADS_PER_JOB"] == "3"


def test_health_is_asked_of_the_process_that_runs_here(file: Composition) -> None:
    assert "http://127.0.0.1:18000/healthz" in file.health_check("api")[-1]
    assert file.health_check("worker-cpu")[1:] == ["-m", "worker.health"]


def test_redis_runs_with_the_files_options(file: Composition) -> None:
    options = file.redis_options()
    assert options["requirepass"] == "bbb"
    assert (options["appendonly"], options["maxmemory-policy"]) == ("yes", "noeviction")
    assert len(compose.load()["services"]["redis"]["command"][-1].split()) == 2 + 2 * len(options)
