"""The compose file keeps its rules, and the settings read what it says."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from core.config import JobTimings, S3Storage, Settings, UploadLimits
from core.domain.jobs import QueueName
from tests.unit.deployment import compose
from tests.unit.deployment.dockerfiles import PROJECT, SECRET, exec_form, stages
from tests.unit.deployment.environment import PREFIX, interpolated, known_names, variables

DOCUMENT = compose.load()
SERVICES = DOCUMENT["services"]
OURS = [name for name, each in SERVICES.items() if "build" in each]
GIVEN = {
    "POSTGRES_PASSWORD": "aaa",
    "REDIS_PASSWORD": "bbb",
    "STORAGE_ACCESS_KEY": "ccc",
    "STORAGE_SECRET_KEY": "ddd",
}


def broken(change: Callable[[Any], object]) -> list[str]:
    """The faults of a copy whose services were changed."""
    copy = deepcopy(DOCUMENT)
    change(copy["services"])
    return compose.faults(copy)


def test_no_rule_is_broken() -> None:
    assert compose.faults(DOCUMENT) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda s: s["redis"].update(image="redis"), "redis: the image redis is not pinned"),
        (lambda s: s["redis"].update(image="redis:8-alpine"), "redis:8-alpine is not pinned"),
        (lambda s: s["api"].update(image="headstart-api:latest"), "api: the image headstart-api"),
        (lambda s: s["api"]["build"].update(dockerfile="Dockerfile.x"), "api: there is no Docke"),
        (lambda s: s["redis"].pop("user"), "redis: runs as whoever"),
        (lambda s: s["api"].update(user="0:0"), "api: runs as root"),
        (lambda s: s["storage"].pop("healthcheck"), "storage: no health check"),
        (lambda s: s["redis"]["healthcheck"].pop("timeout"), "redis: its health check lacks"),
        (lambda s: s["api"].update(healthcheck={"disable": True}), "api: its health check is sw"),
        (lambda s: s["api"].pop("restart"), "api: nothing starts it again"),
        (lambda s: s["api"].pop("stop_grace_period"), "api: no stop_grace_period"),
        (lambda s: s["worker-cpu"].pop("read_only"), "worker-cpu: its root can be written"),
        (lambda s: s["worker-cpu"].update(tmpfs=["/tmp"]), "worker-cpu: no bounded /tmp"),
        (lambda s: s["api"].update(cap_drop=["CHOWN"]), "api: keeps capabilities"),
        (lambda s: s["api"].update(cap_add=["SYS_ADMIN"]), "api: keeps capabilities"),
        (lambda s: s["api"].pop("security_opt"), "api: may gain privileges"),
        (lambda s: s["api"].update(privileged=True), "api: has the run of the host"),
        (lambda s: s["api"].pop("logging"), "api: its log grows"),
        (lambda s: s["api"].pop("deploy"), "api: its limits lack cpus, memory, pids"),
        (
            lambda s: s["worker-gpu"]["deploy"]["resources"]["reservations"].pop("memory"),
            "worker-gpu: its reservations lack memory",
        ),
        (lambda s: s["api"].update(ports=["8000:8000"]), "api: port 8000:8000 is open"),
        (
            lambda s: s["api"]["environment"].update(HEADSTART_STORAGE__BUKKET="x"),
            "api: HEADSTART_STORAGE__BUKKET is no setting",
        ),
        (
            lambda s: s["redis"]["environment"].update(REDIS_PASSWORD="${REDIS_PASSWORD:-x}"),
            "redis: REDIS_PASSWORD has a default value",
        ),
        (
            lambda s: s["postgres"]["environment"].update(POSTGRES_PASSWORD="postgres"),
            "postgres: POSTGRES_PASSWORD is written down",
        ),
        (
            lambda s: s["api"]["environment"].update(HEADSTART_REDIS_URL="redis://:x@redis:6379"),
            "api: HEADSTART_REDIS_URL is written down",
        ),
        (
            lambda s: s["worker-cpu"].update(command=["--queues", "cpu,tpu"]),
            "worker-cpu: there is no queue tpu",
        ),
        (lambda s: s["api"].update(depends_on=["prepare"]), "api: depends_on without conditions"),
        (
            lambda s: s["api"]["depends_on"].update(mail={"condition": "service_healthy"}),
            "api: waits for mail, which there is not",
        ),
        (
            lambda s: s["prepare"]["depends_on"]["redis"].update(condition="service_started"),
            "prepare: waits for redis to be started only",
        ),
        (
            lambda s: s["api"]["depends_on"]["prepare"].update(condition="service_healthy"),
            "api: waits for what prepare never becomes",
        ),
    ],
)
def test_each_broken_rule_is_named(change: Callable[[Any], object], fault: str) -> None:
    found = broken(change)
    assert any(fault in each for each in found), found


@pytest.mark.parametrize("name", OURS)
def test_the_settings_read_what_each_service_is_told(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = interpolated(compose.environment(SERVICES[name]), GIVEN)
    for variable, value in said.items():
        monkeypatch.setenv(variable, value)
    settings = Settings()
    assert settings.database == "postgresql+psycopg://headstart:aaa@postgres:5432/headstart"
    assert settings.redis_url == "redis://:bbb@redis:6379/0"
    assert isinstance(settings.storage, S3Storage)
    assert settings.storage.access_key is not None
    assert settings.storage.secret_key is not None
    assert settings.storage.access_key.get_secret_value() == "ccc"
    assert settings.storage.secret_key.get_secret_value() == "ddd"
    assert settings.storage.endpoint_url == "http://storage:9000"


@pytest.mark.parametrize("name", ["worker-cpu", "worker-gpu"])
def test_a_worker_has_a_thread_for_each_of_its_cores(name: str) -> None:
    service = interpolated(SERVICES[name], GIVEN)
    cores = service["deploy"]["resources"]["limits"]["cpus"]
    assert service["environment"]["HEADSTART_THREADS_PER_JOB"] == cores


def test_each_gpu_of_a_container_gets_a_worker() -> None:
    service = interpolated(SERVICES["worker-gpu"], {**GIVEN, "GPU_COUNT": "2"})
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["count"]) == ("nvidia", "2")
    assert service["environment"]["HEADSTART_WORKER_GPUS"] == "all"


@pytest.mark.parametrize("name", ["worker-cpu", "worker-gpu"])
def test_either_profile_alone_computes_everything(name: str) -> None:
    _, queues = interpolated(SERVICES[name]["command"], {})
    assert set(queues.split(",")) == set(QueueName)


def test_nothing_starts_without_its_secrets() -> None:
    for missing in GIVEN:
        given = {name: value for name, value in GIVEN.items() if name != missing}
        with pytest.raises(KeyError, match=missing):
            interpolated(SERVICES, given)
        with pytest.raises(KeyError, match=missing):
            interpolated(SERVICES, {**GIVEN, missing: ""})


def test_the_example_names_every_variable_and_no_secret() -> None:
    lines = (PROJECT / ".env.example").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    asked = variables((PROJECT / "docker-compose.yml").read_text())
    assert given.keys() == asked.keys()
    for name, default in asked.items():
        assert given[name] == (default or ""), name
        assert not default if SECRET.search(name) else default is not None, name


def test_a_worker_has_time_to_give_its_job_back() -> None:
    timings = JobTimings()
    grace = getattr(timings, "drain_grace", timings.cancel_grace)
    # The child's grace, its end, and the transaction that a lost database may hold up.
    needed = grace + 5 + 20
    for name in ("worker-cpu", "worker-gpu"):
        assert compose.seconds(SERVICES[name]["stop_grace_period"]) > needed


def test_the_api_has_time_to_finish_its_requests() -> None:
    command = stages((PROJECT / "Dockerfile.api").read_text())[-1].last("CMD")
    assert command is not None
    words = exec_form(command)
    graceful = float(words[words.index("--timeout-graceful-shutdown") + 1])
    assert compose.seconds(SERVICES["api"]["stop_grace_period"]) > graceful


def test_an_archive_can_be_unpacked_within_the_apis_memory() -> None:
    limit = interpolated(SERVICES["api"], GIVEN)["deploy"]["resources"]["limits"]["memory"]
    assert compose.memory_bytes(limit) >= UploadLimits().memory_bytes + 1024**3


def test_redis_refuses_before_the_kernel_kills_it() -> None:
    words = SERVICES["redis"]["command"][-1].split()
    most = compose.memory_bytes(words[words.index("--maxmemory") + 1].removesuffix("b"))
    # Rewriting its file may copy every page that changes meanwhile.
    limit = SERVICES["redis"]["deploy"]["resources"]["limits"]["memory"]
    assert 2 * most < compose.memory_bytes(limit)


def test_every_name_is_found_under_its_prefix() -> None:
    names = set(known_names())
    assert {"HEADSTART_HOME", "HEADSTART_JOBS__LEASE", "HEADSTART_STORAGE__ROOT"} <= names
    assert "HEADSTART_STORAGE__SECRET_KEY" in names
    assert all(name.startswith(PREFIX) for name in names)
