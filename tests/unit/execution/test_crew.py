"""Processes that compute one job: one speaks for all, and all end together, whoever goes first."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
import torch

from core.domain.datasets import Dataset, DatasetId
from core.domain.identity import DEFAULT
from core.domain.searches import EmbedSpec
from core.domain.work import EmbedInputs
from core.errors import AppError
from core.execution import host_memory, process_group, protocol
from core.execution.crew import Crew
from core.nas.ranks import ALONE
from core.services import wire
from tests.unit.execution.bench import REPORT, alive, eventually, scenario_command
from tests.unit.execution.test_process import envelope, heard

SIZE = 3
SUPERVISOR = """
import os, sys, time
from pathlib import Path
from core.execution import protocol
from core.execution.process import ChildProcess
from tests.unit.execution.bench import scenario_command
from tests.unit.execution.test_crew import sealed
folder = Path(sys.argv[1])
command = scenario_command("stand_still", folder)
with ChildProcess(command, envelope=sealed(folder), env=os.environ, deadline=1e9) as child:
    child._guard.join()
    time.sleep(600)
"""


def sealed(folder: Path) -> bytes:
    dataset = Dataset(
        project_id=DEFAULT,
        id=DatasetId(UUID(int=1)),
        sha256="a" * 64,
        name="digits",
        classes=("0", "1"),
        train_counts=(8, 8),
        test_counts=(2, 2),
        channels=1,
        report=REPORT,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    inputs = EmbedInputs(EmbedSpec(dataset.id, "default"), dataset)
    own = replace(envelope(folder, os.getpid()), processes=SIZE, inputs=wire.dump(inputs))
    return protocol.seal(own)


def said_by(scenario: str, folder: Path) -> list[protocol.Event]:
    return heard(scenario_command(scenario, folder), sealed(folder))


def pids(folder: Path) -> list[int]:
    return [int((folder / f"pid-{rank}").read_text()) for rank in range(SIZE)]


def test_the_first_speaks_and_keeps_for_all(tmp_path: Path) -> None:
    reported, kept, finished, ended = said_by("pull_together", tmp_path)
    assert isinstance(reported, protocol.Reported)
    assert reported.record is not None
    assert reported.record.values == {"rank": 0}
    assert isinstance(kept, protocol.Checkpointed)
    assert isinstance(finished, protocol.Finished)
    assert ended == replace(ended, status=0)  # type: ignore[type-var]
    assert len(set(pids(tmp_path))) == SIZE
    assert not any(alive(pid) for pid in pids(tmp_path))
    folders = {(tmp_path / f"folder-{rank}").read_text() for rank in range(SIZE)}
    assert folders == {str(tmp_path), *(str(tmp_path / f"rank-{rank}") for rank in (1, 2))}


@pytest.mark.parametrize(
    ("scenario", "code"),
    [("run_short_in_one", "gpu_oom"), ("lose_one", "worker_lost"), ("fail_at_first", "diverged")],
)
def test_the_reason_of_an_end_is_told_and_not_its_echo(
    tmp_path: Path, scenario: str, code: str
) -> None:
    *_, failed, ended = said_by(scenario, tmp_path)
    assert isinstance(failed, protocol.Failed)
    assert isinstance(ended, protocol.Exited)
    assert failed.code == code
    eventually(lambda: not any(alive(pid) for pid in pids(tmp_path)))


@contextmanager
def supervised(folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A supervisor whose crew stands still."""
    with subprocess.Popen([sys.executable, "-c", SUPERVISOR, str(folder)]) as process:
        try:
            eventually((folder / "ready").exists, seconds=120)
            yield process
        finally:
            process.kill()
            with suppress(ProcessLookupError):
                os.killpg(pids(folder)[0], signal.SIGKILL)


@pytest.mark.parametrize("case", ["busy", "first stopped", "another stopped", "first killed"])
def test_no_process_outlives_the_supervisor_or_the_first(tmp_path: Path, case: str) -> None:
    with supervised(tmp_path) as process:
        first, second, _ = everyone = pids(tmp_path)
        if case == "first stopped":
            os.kill(first, signal.SIGSTOP)
        elif case == "another stopped":
            os.kill(second, signal.SIGSTOP)
        if case == "first killed":
            os.kill(first, signal.SIGKILL)
        else:
            process.kill()
        eventually(lambda: not any(alive(pid) for pid in everyone))


def test_a_process_that_is_killed_for_memory_is_told_from_one_that_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Crew(envelope(tmp_path, os.getpid()), say=lambda _: None) as alone:
        subprocess.run([sys.executable, "-c", ""], check=True)
        assert alone._lost(-9).code == "worker_lost"
        monkeypatch.setattr(host_memory, "limit_bytes", lambda: 1024)
        assert alone._lost(-9).code == "host_oom"
        assert alone._lost(1).code == "worker_lost"


def test_each_process_needs_a_gpu_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert process_group.join(rank=0, size=1, device="cuda", folder=tmp_path) is ALONE
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(AppError, match="each on a GPU; CUDA shows 1") as refused:
        process_group.join(rank=0, size=2, device="cuda", folder=tmp_path)
    assert refused.value.stable_code == "device_lost"
