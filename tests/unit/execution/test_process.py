"""A process of its own for the computation: what is learned of it, and whom it obeys."""

import os
import sys
import time
from pathlib import Path
from uuid import UUID

import pytest

from core.domain.identity import DEFAULT
from core.domain.jobs import JobId, JobKind
from core.execution import protocol
from core.execution.process import ChildProcess
from tests.unit.execution.bench import scenario_command, settings_for

MIB = 1024**2


def heard(command: tuple[str, ...], envelope: bytes = b"") -> list[protocol.Event]:
    """All that a child says, to its end."""
    end = time.monotonic() + 60
    events: list[protocol.Event] = []
    with ChildProcess(command, envelope=envelope, env=os.environ, deadline=end) as child:
        while not events or not isinstance(events[-1], protocol.Exited):
            events += child.events(timeout=60)
    return events


def exited(code: str) -> protocol.Exited:
    """How a Python program ended."""
    (event,) = heard((sys.executable, "-c", code))
    assert isinstance(event, protocol.Exited)
    return event


@pytest.mark.parametrize(
    ("code", "status"),
    [("", 0), ("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 9)", -9)],
)
def test_the_end_is_told_as_it_was(code: str, status: int) -> None:
    assert exited(code).status == status


def test_the_most_memory_it_held_is_told_even_of_a_killed_one() -> None:
    kill = "import os; os.kill(os.getpid(), 9)"
    least = exited(kill).peak_bytes
    more = least + 50 * MIB
    most = exited(f"held = bytearray(b'1') * {more}; del held; {kill}").peak_bytes
    assert 0 < least < more <= most < more + 100 * MIB


def test_a_child_whose_supervisor_is_another_process_computes_nothing(tmp_path: Path) -> None:
    command = scenario_command("break_down", tmp_path)
    (failed, ended) = heard(command, protocol.seal(envelope(tmp_path, os.getpid())))
    assert isinstance(failed, protocol.Failed)
    assert isinstance(ended, protocol.Exited)
    assert ended.status == 0
    (ended,) = heard(command, protocol.seal(envelope(tmp_path, os.getpid() + 1)))
    assert isinstance(ended, protocol.Exited)
    assert ended.status == -9


def envelope(folder: Path, supervisor: int) -> protocol.Envelope:
    return protocol.Envelope(
        project_id=DEFAULT,
        job_id=JobId(UUID(int=7)),
        kind=JobKind.EMBED,
        fence=1,
        attempt=1,
        inputs={},
        checkpoints=(),
        settings=protocol.portable(settings_for(folder)),
        threads=1,
        device="cpu",
        scratch=str(folder),
        supervisor=supervisor,
    )
