"""The operator's commands on one machine; `tests/integration` has them on real servers."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from api import doctor, operating
from api.doctor import Line, State
from core.bootstrap import Container
from core.config import Settings
from core.db.sessions import Sessions
from core.domain import keys
from core.domain.identity import DEFAULT
from core.domain.jobs import Checkpoint, JobState, QueueName
from core.services import jobs, supernets
from tests.fixtures.mlflow import refusal, tracking
from tests.unit.api import scenes
from tests.unit.api.archives import class_folders, zipped
from tests.unit.api.conftest import said

Say = Callable[..., str]


@pytest.fixture
def tell(
    container: Container, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Say:
    """An operator at the command line of this home, where no service runs."""
    monkeypatch.setenv("HEADSTART_HOME", str(container.settings.home))
    return lambda *typed: said(monkeypatch, capsys, *typed)


def run(home: Path, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """The command as it is installed, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "api.cli", *arguments],
        env={**os.environ, "HEADSTART_HOME": str(home), **settings},
        capture_output=True,
        text=True,
        check=False,
    )


def grown_old(container: Container, key: str, *, days: float = 2.0) -> None:
    then = time.time() - days * 86_400
    os.utime(container.settings.home / "objects" / key, (then, then))


def put(container: Container, key: str, folder: Path, data: bytes = b"weights") -> str:
    source = folder / "source"
    source.write_bytes(data)
    container.store.put(key, source)
    return key


def test_migrate_makes_a_database_once_and_again(tmp_path: Path) -> None:
    home = tmp_path / "new"
    for _ in range(2):
        done = run(home, "migrate", "--bucket", HEADSTART_ZOO="on")
        assert (done.returncode, done.stdout) == (0, "The database is ready.\n"), done.stderr
    sessions = Sessions(f"sqlite:///{home / 'headstart.db'}")
    sessions.check()
    with sessions.read() as session:
        assert supernets.listing(session, limit=5)[0]
    sessions.dispose()


def test_gc_says_first_and_does_then(container: Container, tell: Say, tmp_path: Path) -> None:
    target = scenes.dataset(container)
    failed = scenes.failed(container, target, "diverged", "It diverged.")
    left = put(container, keys.attempt(DEFAULT, failed.id, 1, "model/x.bin"), tmp_path)
    young = put(container, keys.attempt(DEFAULT, failed.id, 1, "model/young.bin"), tmp_path)
    _, model = scenes.finished(container, target)
    stranger = put(container, f"{keys.jobs(DEFAULT)}/not-ours/a1/x", tmp_path)
    half = container.settings.home / "objects" / ".partial-0123456789abcdef"
    half.write_bytes(b"half")
    for key in (left, stranger, half.name, *(each.key for each in model.artifacts)):
        grown_old(container, key)
    before = {each.key for each in container.store.listing("")}

    dry = tell("gc", "--dry-run")
    assert dry.startswith("0\n")
    assert f"abandoned 7 {left}" in dry
    assert young not in dry
    assert {each.key for each in container.store.listing("")} == before
    assert half.exists()

    done = json.loads(tell("gc", "--json").removeprefix("0\n"))
    assert done == {
        "dry_run": False,
        "checkpoint": {"objects": 0, "bytes": 0, "kept": False},
        "abandoned": {"objects": 1, "bytes": 7, "kept": False},
        "unfinished": {"objects": 1, "bytes": 4, "kept": False},
        "expired": {"objects": 0, "bytes": 0, "kept": False},
        "deleted": {"objects": 0, "bytes": 0, "kept": False},
        "unknown": {"objects": 1, "bytes": 7, "kept": True},
    }
    assert {each.key for each in container.store.listing("")} == before - {left}
    assert not half.exists()
    assert tell("gc", "--unknown-jobs").startswith("0\n")
    assert {each.key for each in container.store.listing("")} == before - {left, stranger}
    assert tell("gc", "--older-than", "0").startswith("2\n")


def test_verify_finds_what_is_missing_and_what_is_altered(
    container: Container, tell: Say, tmp_path: Path
) -> None:
    job = scenes.running(container, target := scenes.dataset(container))
    put(container, keys.originals(DEFAULT, target.sha256), tmp_path)
    _, model = scenes.finished(container, target)
    files = {each.name: container.settings.home / "objects" / each.key for each in model.artifacts}
    altered = files["model.onnx"]
    altered.write_bytes(b"onnX" + altered.read_bytes()[4:])
    files["genotype.json"].unlink()
    key = put(container, keys.attempt(DEFAULT, job.id, 1, "checkpoints/1.bin"), tmp_path)
    with container.sessions.begin() as session:
        jobs.add_checkpoint(session, job.id, 1, Checkpoint(1, 1, key, "0" * 64, 7))
    found = tell("verify", "--json")
    assert found.startswith("1\n")
    problems = json.loads(found.removeprefix("1\n"))["problems"]
    by_key = {each["key"]: (each["fault"], each["owner"]) for each in problems}
    whose = f"model {model.id}"
    assert by_key == {
        "manifest": ("missing", whose),
        **{
            each.key: ("altered" if each.name == "model.onnx" else "missing", whose)
            for each in model.artifacts
        },
        key: ("altered", f"checkpoint of job {job.id}"),
    }
    shown = tell("verify")
    assert shown.startswith("1\n")
    assert "5 objects read, 4 not as they should be" in shown


def test_verify_reads_the_originals(container: Container, tell: Say, client: httpx.Client) -> None:
    content = zipped(class_folders())
    headers = {"Content-Type": "application/zip"}
    made = client.post("/v1/datasets?name=x", content=content, headers=headers).json()
    assert tell("verify").startswith("0\n")
    path = container.settings.home / "objects" / keys.originals(DEFAULT, made["sha256"])
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    found = tell("verify", "--json")
    assert found.startswith("1\n")
    [problem] = json.loads(found.removeprefix("1\n"))["problems"]
    owner = f"dataset {made['id']}"
    assert problem == {
        "fault": "altered",
        "owner": owner,
        "key": keys.originals(DEFAULT, made["sha256"]),
    }


def test_after_a_restore_no_attempt_has_a_lost_ones_fence(container: Container, tell: Say) -> None:
    target = scenes.dataset(container)
    ended = scenes.failed(container, target, "diverged", "It diverged.")
    held, waiting = scenes.running(container, target), scenes.queued(container, target)
    assert "2 jobs" in tell("restored")
    with container.sessions.read() as session:
        after = [jobs.get(session, each.id) for each in (ended, held, waiting)]
    assert [each.fence for each in after] == [1, 1_000_001, 1_000_000]
    assert after[1].state is JobState.RUNNING


def test_a_worker_needs_a_cluster_and_says_so(tell: Say) -> None:
    refused = tell("worker")
    assert refused.startswith("1\n")
    assert "HEADSTART_REDIS_URL" in refused


def test_a_worker_takes_this_processes_place(tell: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSTART_REDIS_URL", "redis://127.0.0.1:1/0")
    seen: list[Any] = []
    monkeypatch.setattr(operating.os, "execv", lambda path, words: seen.append((path, words)))
    assert tell("worker", "--queues", "cpu,gpu", "--concurrency", "3").startswith("0\n")
    options = ["--queues", "cpu,gpu", "--concurrency", "3"]
    assert seen == [(sys.executable, [sys.executable, "-m", "worker", *options])]
    monkeypatch.setattr(operating, "find_spec", lambda _: None)
    refused = tell("worker")
    assert "headstart-nas[worker]" in refused
    assert len(seen) == 1


def lines(settings: Settings) -> dict[str, Line]:
    return {each.what: each for each in doctor.examine(settings)}


def test_a_home_in_order_passes_every_check(container: Container, tell: Say) -> None:
    found = tell("doctor", "--json")
    assert found.startswith("0\n"), found
    checks = json.loads(found.removeprefix("0\n"))["checks"]
    names = ["python", "torch", "home", "database", "clock", "workers"]
    assert [each["what"] for each in checks][:9] == [*names, "redis", "object store", "gpu"]
    assert {each["state"] for each in checks} <= {"ok", "warn"}
    assert list(container.store.listing("")) == []  # the probe is gone
    shown = tell("doctor")
    assert shown.startswith("0\n")
    assert "schema up to date" in shown


def test_whether_mlflow_answers_is_said_and_costs_nobody_the_service(tmp_path: Path) -> None:
    def said(**mlflow: str) -> Line:
        settings = Settings(home=tmp_path, mlflow={"token": "canary", **mlflow})
        return lines(settings)["mlflow"]

    assert "not configured" in said().said
    with tracking() as mlflow:
        there = {"tracking_uri": mlflow.server.url}
        assert said(**there).said.endswith(
            "experiment headstart, which the first search will make"
        )
        mlflow.experiments["headstart"] = {"experiment_id": "0"}
        assert said(**there) == Line("mlflow", State.OK, "it answers; experiment headstart")
        mlflow.faults["/"] = refusal(401, "UNAUTHENTICATED")
        refused = said(**there)
    away = said(**there)
    assert {refused.state, away.state} == {State.WARN}
    assert "401" in refused.said
    assert "ConnectError" in away.said
    assert "HEADSTART_MLFLOW__" in away.todo
    wrong = said(tracking_uri="https://mlflow.example", ca_file=str(tmp_path / "none.pem"))
    assert "none.pem" in wrong.said
    assert "canary" not in repr((refused, away, wrong))


def test_a_home_that_is_not_there_yet_is_in_order(tmp_path: Path) -> None:
    found = lines(Settings(home=tmp_path / "new"))
    assert found["database"].state is State.OK
    assert not (tmp_path / "new" / "headstart.db").exists()


def test_an_unmigrated_database_fails_with_the_command_that_helps(tmp_path: Path) -> None:
    (tmp_path / "headstart.db").touch()
    done = run(tmp_path, "doctor")
    assert done.returncode == 1
    assert "headstart migrate" in done.stdout


def test_what_is_no_database_fails_and_the_rest_is_still_asked(tmp_path: Path) -> None:
    (tmp_path / "headstart.db").write_bytes(b"this is not SQLite " * 100)
    found = lines(Settings(home=tmp_path))
    assert found["database"].state is State.FAIL
    assert found["database"].todo
    assert found["object store"].state is State.OK


def test_a_home_that_cannot_be_made_fails(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = lines(Settings(home=tmp_path / "file" / "home"))
    assert found["home"].state is State.FAIL
    assert "HEADSTART_HOME" in found["home"].todo
    assert found["object store"].state is State.FAIL


@pytest.mark.parametrize(
    ("free", "state"), [(10**12, State.OK), (10**9, State.WARN), (10**8, State.FAIL)]
)
def test_a_disk_that_fills(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, state: State
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=free))
    assert lines(Settings(home=tmp_path))["home"].state is state


def test_without_torch_one_machine_cannot_compute_and_a_front_door_need_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> str:
        raise doctor.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.importlib.metadata, "version", missing)
    alone = lines(Settings(home=tmp_path))["torch"]
    assert alone.state is State.FAIL
    assert "headstart-nas[worker]" in alone.todo
    door = Settings(home=tmp_path, redis_url="redis://127.0.0.1:1/0")
    assert lines(door)["torch"].state is State.OK


def test_clocks_that_differ_are_told_of() -> None:
    for ahead, state in ((0.2, State.OK), (-29.0, State.OK), (3600.0, State.WARN)):
        assert doctor._clock(ahead).state is state
    assert "1800.0 s behind" in doctor._clock(-1800.0).said


def test_a_gpu_is_found_or_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    home = tmp_path / "home"
    assert lines(Settings(home=home))["gpu"].state in {State.OK, State.WARN}
    if shutil.which("nvidia-smi") is None:
        assert lines(Settings(home=home, device="cuda"))["gpu"].state is State.FAIL
    tool.write_text("#!/bin/sh\necho '0, GPU-1, NVIDIA H100, 580.65.06, 81559'\n")
    tool.chmod(0o755)
    found = lines(Settings(home=home, device="cuda"))["gpu"]
    assert found.state is State.OK
    assert found.said == "0: NVIDIA H100, 85.5 GB, driver 580.65.06"
    tool.write_text("#!/bin/sh\necho 'Unable to determine the device handle'; exit 15\n")
    assert lines(Settings(home=home, device="cuda"))["gpu"].state is State.FAIL
    assert lines(Settings(home=home))["gpu"].state is State.WARN


def test_jobs_that_nobody_takes_are_told_of(container: Container) -> None:
    job = scenes.queued(container, scenes.dataset(container))
    assert lines(container.settings)["workers"].state is State.OK
    long_ago = (datetime.now(UTC) - timedelta(minutes=5)).strftime("%Y-%m-%d %H:%M:%S.000")
    with container.sessions.begin() as session:
        statement = "UPDATE jobs SET not_before = :at WHERE id = :id"
        session.execute(text(statement), {"at": long_ago, "id": job.id.hex})
    found = lines(container.settings)["workers"]
    assert (found.state, "1 in gpu" in found.said) == (State.WARN, True)
    with container.sessions.begin() as session:
        terms: dict[str, Any] = {"owner": "gone", "lease_seconds": -1.0}
        assert jobs.claim(session, queue=QueueName.GPU, **terms)
    found = lines(container.settings)["workers"]
    assert (found.state, "1 jobs' workers were lost" in found.said) == (State.WARN, True)
