"""A test's processes are ready when they say so, end as they are told, and can run again."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.processes import Process
from tests.fixtures.servers import ServerFailed

# It says what it knows of its environment, and leaves with 7 when asked to.
PROGRAM = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
print(os.environ["WORD"], "HEADSTART_ZOO" in os.environ, flush=True)
time.sleep(600)
"""


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    made = Process(
        [sys.executable, "-c", PROGRAM],
        {"WORD": "ready"},
        folder=tmp_path / "run",
        log=tmp_path / "log",
        ready=lambda own: "ready" in own.said(),
    )
    yield made
    made.close()


def test_a_process_runs_again_after_each_end_of_it(process: Process, tmp_path: Path) -> None:
    assert (process.alive, process.status) == (False, None)
    process.start()
    assert (process.alive, process.status) == (True, None)
    first = process.pid
    process.stop()
    assert (process.alive, process.status) == (False, 7)
    process.start()
    assert process.pid != first
    process.kill()
    assert (process.alive, process.status) == (False, -signal.SIGKILL)
    assert process.said() == "ready False\n"  # it is told what it was given and no more
    assert (tmp_path / "log").read_text() == 2 * "ready False\n"
    process.start()
    process.close()
    assert (process.alive, (tmp_path / "run").exists()) == (False, False)


def test_one_that_cannot_start_says_why(process: Process) -> None:
    process.environment["WORD"] = "not yet"
    process.command = (sys.executable, "-c", "raise SystemExit('no such luck')")
    with pytest.raises(ServerFailed, match="no such luck"):
        process.start()
    assert not process.alive
