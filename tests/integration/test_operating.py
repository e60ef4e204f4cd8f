"""The operator's commands on real servers, and each way in which one of those can be wrong."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis
from pydantic import SecretStr
from sqlalchemy.engine import make_url

from api import doctor
from api.doctor import Line, State
from core.config import S3Storage, Settings
from core.db import schema
from core.db.sessions import Sessions
from core.domain.identity import DEFAULT
from core.services import supernets
from core.storage.s3 import S3Store
from tests.fixtures.postgres import fresh_database
from tests.unit.deployment import compose
from tests.unit.execution.bench import eventually

pytestmark = pytest.mark.services


def environment(settings: Settings) -> dict[str, str]:
    """The settings as a container is told them."""
    storage = settings.storage
    assert isinstance(storage, S3Storage)
    assert storage.access_key is not None
    assert storage.secret_key is not None
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HEADSTART_HOME": str(settings.home),
        "HEADSTART_DATABASE_URL": settings.database,
        "HEADSTART_REDIS_URL": str(settings.redis_url),
        "HEADSTART_STORAGE__KIND": "s3",
        "HEADSTART_STORAGE__BUCKET": storage.bucket,
        "HEADSTART_STORAGE__ENDPOINT_URL": str(storage.endpoint_url),
        "HEADSTART_STORAGE__ACCESS_KEY": storage.access_key.get_secret_value(),
        "HEADSTART_STORAGE__SECRET_KEY": storage.secret_key.get_secret_value(),
    }


def run(
    settings: Settings, command: Sequence[str], **more: str
) -> "subprocess.CompletedProcess[str]":
    told = {**environment(settings), **more}
    return subprocess.run(command, env=told, capture_output=True, text=True, check=False)


@pytest.fixture
def cluster(
    tmp_path: Path, migrated_postgres: str, postgres_server: str, redis_url: str,
    s3_storage: S3Storage,
) -> Iterator[Settings]:  # fmt: skip
    """All three servers, migrated."""
    with fresh_database(postgres_server, template=migrated_postgres) as url:
        yield settings_with(tmp_path, url, redis_url, s3_storage)


def settings_with(folder: Path, database: str, broker: str, storage: S3Storage) -> Settings:
    told: dict[str, Any] = {"database_url": database, "redis_url": broker, "storage": storage}
    return Settings.model_validate({"home": folder / "home", **told})


def lines(settings: Settings, **changes: object) -> dict[str, Line]:
    found = doctor.examine(settings.model_copy(update=changes))
    return {each.what: each for each in found}


@pytest.mark.slow
def test_the_files_command_prepares_empty_servers_twice(
    tmp_path: Path, postgres_url: str, redis_url: str, s3_server: S3Storage
) -> None:
    storage = s3_server.model_copy(update={"bucket": f"made-{os.getpid()}-{os.urandom(4).hex()}"})
    settings = settings_with(tmp_path, postgres_url, redis_url, storage)
    command = compose.load()["services"]["prepare"]["command"]
    before = run(settings, ["headstart", "doctor", "--json"])
    assert before.returncode == 1
    wrong = {x["what"] for x in json.loads(before.stdout)["checks"] if x["state"] == "fail"}
    assert wrong == {"database", "object store"}
    for _ in range(2):
        done = run(settings, command, HEADSTART_ZOO="on")
        assert done.returncode == 0, done.stderr
    sessions = Sessions(postgres_url).within(DEFAULT)
    with sessions.read() as session:
        shipped, _ = supernets.listing(session, limit=5)
    sessions.dispose()
    with contextlib.closing(S3Store(storage)) as store:
        assert all(store.exists(each.key) for each in shipped)
    assert shipped
    after = run(settings, ["headstart", "doctor"])
    assert after.returncode == 0, after.stdout + after.stderr
    verified = run(settings, ["headstart", "verify", "--json"])
    assert json.loads(verified.stdout) == {"read": len(shipped), "problems": []}


def test_a_cluster_in_order_passes_every_check(cluster: Settings) -> None:
    found = lines(cluster)
    states = {name: each.state for name, each in found.items() if name not in {"pgvector", "gpu"}}
    assert set(states.values()) == {State.OK}, found
    assert "noeviction" in found["redis"].said
    assert found["pgvector"].state is not State.FAIL
    with contextlib.closing(S3Store(cluster.storage)) as store:  # type: ignore[arg-type]
        assert list(store.listing("")) == []


def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def test_each_server_that_is_away_is_named(cluster: Settings) -> None:
    away = free_address()
    found = lines(
        cluster,
        database_url=f"postgresql://headstart:canary@{away}/headstart",
        redis_url=f"redis://:canary@{away}/0",
        storage=cluster.storage.model_copy(update={"endpoint_url": f"http://{away}"}),
    )
    failed = {name for name, each in found.items() if each.state is State.FAIL}
    assert failed == {"database", "redis", "object store"}
    assert all(found[name].todo for name in failed)
    assert "canary" not in str(found)


def test_wrong_passwords_are_told_from_absent_servers(cluster: Settings) -> None:
    url = make_url(cluster.database).set(password="canary")
    broker = make_url(str(cluster.redis_url)).set(password="canary")
    storage = cluster.storage.model_copy(update={"secret_key": SecretStr("canary")})
    found = lines(
        cluster,
        database_url=url.render_as_string(hide_password=False),
        redis_url=broker.render_as_string(hide_password=False),
        storage=storage,
    )
    failed = {name for name, each in found.items() if each.state is State.FAIL}
    assert failed == {"database", "redis", "object store"}
    assert "password" in found["redis"].said
    assert "refused" in found["object store"].said
    assert "canary" not in str(found)


def test_a_missing_bucket_and_an_older_schema_name_the_command_that_helps(
    cluster: Settings,
) -> None:
    schema.downgrade(cluster.database, revision="0006")
    storage = cluster.storage.model_copy(update={"bucket": "missing"})
    found = lines(cluster, storage=storage)
    assert found["database"].state is State.FAIL
    assert "headstart migrate" in found["database"].todo
    assert found["object store"].state is State.FAIL
    assert "migrate --bucket" in found["object store"].todo


def test_a_redis_that_evicts_is_a_warning(cluster: Settings) -> None:
    with redis.Redis.from_url(str(cluster.redis_url)) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            found = lines(cluster)["redis"]
        finally:
            client.config_set("maxmemory-policy", "noeviction")
    assert (found.state, "noeviction" in found.todo) == (State.WARN, True)


def test_a_store_that_keeps_what_it_is_told_to_delete_fails(
    cluster: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(S3Store, "delete", lambda *_: None)
    found = lines(cluster)["object store"]
    assert (found.state, found.said) == (State.FAIL, "kept what was deleted")


def test_the_worker_command_is_a_worker_that_drains(cluster: Settings, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("w") as out:
        process = subprocess.Popen(
            ["headstart", "worker", "--queues", "cpu", "--concurrency", "2"],
            env=environment(cluster),
            executable=Path(sys.executable).with_name("headstart"),
            stdout=out,
            stderr=out,
        )
    try:
        eventually(lambda: " ready." in log.read_text(), seconds=120)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
