"""A worker for each GPU: which it sees, who starts it again, and how all of them end."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from pydantic import ValidationError

from core.config import Settings
from core.errors import InvalidInput
from tests.unit.execution.bench import alive, eventually
from tests.unit.execution.test_gpus import smi
from worker import fleet
from worker.beat import places

TWO_GPUS = 'echo "0, GPU-a, Card, 580.65, 81920"; echo "1, GPU-b, Card, 580.65, 81920"'
# A member that writes down what it was given and ends as it is told to.
MEMBER = """
import json, os, signal, sys, time
from pathlib import Path
from worker import fleet
fleet.follow_parent()
folder = Path(sys.argv[1])
def end(*_):
    (folder / f"ended-{os.getpid()}").touch()
    sys.exit(int((folder / "status").read_text()) if (folder / "status").exists() else 0)
signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGINT, lambda *_: (folder / "interrupted").touch())
names = ("CUDA_VISIBLE_DEVICES", "HEADSTART_WORKER_PLACE", "HEADSTART_DEVICE",
         "HEADSTART_THREADS_PER_JOB")
said = {name: os.environ.get(name) for name in names}
partial = folder / f"partial-{os.getpid()}"
partial.write_text(json.dumps(said))
partial.rename(folder / f"member-{os.getpid()}")
while True:
    time.sleep(0.1)
"""
FLEET = """
import sys
from core.config import Settings
from worker import fleet
fleet.PAUSES = (0.1, 0.2)
fleet.sys.executable = sys.argv[1]
sys.exit(fleet.of(Settings(), ("GPU-a", "GPU-b"), sys.argv[2:]).run())
"""


@contextmanager
def running(folder: Path, **environment: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A fleet of members that stand in for workers: `python -m worker` is this script."""
    python = folder / "python"
    (folder / "member.py").write_text(MEMBER)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} {folder}/member.py "$3"\n')
    python.chmod(0o755)
    home = {"HEADSTART_HOME": str(folder / "home"), "PYTHONPATH": str(Path.cwd())}
    process = subprocess.Popen(
        [sys.executable, "-c", FLEET, str(python), str(folder)],
        env={**os.environ, **home, **environment},
    )
    try:
        yield process
    finally:
        members = psutil.Process(process.pid).children() if process.poll() is None else []
        process.kill()
        process.wait()
        for member in members:
            eventually(lambda member=member: not alive(member.pid))  # type: ignore[misc]


def members(folder: Path) -> dict[int, dict[str, str]]:
    """What each member that has begun was given, by its process id."""
    found = sorted(folder.glob("member-*"))
    return {int(path.name.rpartition("-")[2]): json.loads(path.read_text()) for path in found}


def begun(folder: Path, count: int) -> dict[int, dict[str, str]]:
    eventually(lambda: len(members(folder)) >= count, seconds=60)
    return members(folder)


def test_each_sees_its_own_gpu_and_ends_when_all_do(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        given = begun(tmp_path, 2)
        assert [each["CUDA_VISIBLE_DEVICES"] for each in _by_place(given)] == ["GPU-a", "GPU-b"]
        assert {each["HEADSTART_DEVICE"] for each in given.values()} == {"cuda"}
        cores = max(1, (os.cpu_count() or 1) // 2)
        assert {each["HEADSTART_THREADS_PER_JOB"] for each in given.values()} == {str(cores)}
        assert places(tmp_path / "home") == (0, 1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    assert {f"ended-{pid}" for pid in given} == {p.name for p in tmp_path.glob("ended-*")}


def test_what_was_set_by_hand_stays(tmp_path: Path) -> None:
    with running(tmp_path, HEADSTART_DEVICE="cpu", HEADSTART_THREADS_PER_JOB="7"):
        for each in begun(tmp_path, 2).values():
            assert (each["HEADSTART_DEVICE"], each["HEADSTART_THREADS_PER_JOB"]) == ("cpu", "7")


def test_a_worker_whose_jobs_take_two_processes_has_two_gpus(tmp_path: Path) -> None:
    with running(tmp_path, HEADSTART_PROCESSES_PER_JOB="2"):
        (given,) = begun(tmp_path, 1).values()
        assert given["CUDA_VISIBLE_DEVICES"] == "GPU-a,GPU-b"
        assert given["HEADSTART_THREADS_PER_JOB"] == str(os.cpu_count() or 1)
        assert places(tmp_path / "home") == (0,)


def test_gpus_that_would_be_left_over_are_refused(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, processes_per_job=2)
    with pytest.raises(InvalidInput, match="takes 2 GPUs for each worker, and 3 cannot be"):
        fleet.of(settings, ("GPU-a", "GPU-b", "GPU-c"), ())


def test_who_dies_is_started_again_on_its_gpu_and_no_other_is_touched(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        first = begun(tmp_path, 2)
        victim, other = sorted(first, key=lambda pid: first[pid]["HEADSTART_WORKER_PLACE"])
        for count in (3, 4):
            os.kill(victim, signal.SIGKILL)
            now = begun(tmp_path, count)
            (again,) = set(now) - set(first)
            assert now[again] == first[victim]
            first, victim = now, again
        assert alive(other)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0


def test_ctrl_c_ends_all_once_and_a_bad_end_is_told(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("3")
    with running(tmp_path) as process:
        begun(tmp_path, 2)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 1
    assert len(list(tmp_path.glob("ended-*"))) == 2
    assert not (tmp_path / "interrupted").exists()


def test_a_killed_fleet_takes_its_workers_along(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        given = begun(tmp_path, 2)
        process.kill()
        eventually(lambda: len(list(tmp_path.glob("ended-*"))) == 2)
        eventually(lambda: not any(alive(pid) for pid in given))


@pytest.mark.parametrize(
    ("gpus", "words"),
    [("7", "'7' is no GPU of this machine, which has: 0 (GPU-a, Card), 1"), ("", "names no GPU")],
)
def test_python_m_worker_refuses_a_gpu_that_is_not_there(
    tmp_path: Path, gpus: str, words: str
) -> None:
    said = subprocess.run(
        [sys.executable, "-m", "worker", "--queues", "gpu"],
        env={
            **os.environ,
            "PATH": f"{smi(tmp_path, TWO_GPUS)}:{os.environ['PATH']}",
            "HEADSTART_HOME": str(tmp_path),
            "HEADSTART_REDIS_URL": "redis://127.0.0.1:1/0",
            "HEADSTART_WORKER_GPUS": gpus or ",",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode != 0
    assert words in said.stderr
    assert "Traceback" not in said.stderr


def test_pauses_grow_while_it_dies_young() -> None:
    member = fleet.Member((sys.executable, "-c", ""), {**os.environ, fleet.VISIBLE: "GPU-a"})
    pauses = []
    for _ in range(7):
        member._due = 0.0
        member.tend()
        assert member.wait() == 0
        pauses.append(member._pause)
        member.tend()
        assert member._process is None
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    member._due, member._started = 0.0, 0.0
    member.tend()
    member.wait()
    member._started -= fleet.YOUNG_SECONDS
    member.tend()
    assert member._pause == 2.0


def _by_place(given: dict[int, dict[str, str]]) -> list[dict[str, str]]:
    return sorted(given.values(), key=lambda each: each["HEADSTART_WORKER_PLACE"])


def test_the_settings_are_named_as_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSTART_WORKER_GPUS", "0,1")
    monkeypatch.setenv("HEADSTART_PROCESSES_PER_JOB", "2")
    assert (Settings().worker_gpus, Settings().processes_per_job) == ("0,1", 2)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"processes_per_job": 0}, "greater than or equal to 1"),
        ({"processes_per_job": 2, "device": "cuda:1"}, "one device for 2 processes_per_job"),
    ],
)
def test_processes_that_cannot_be_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Settings.model_validate(settings)
