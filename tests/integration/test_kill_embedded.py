"""The whole embedded process dies without a word; the next one goes on where it stood."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from core.db.sessions import Sessions
from core.domain.identity import DEFAULT
from core.domain.jobs import JobState
from core.embedded import embedded
from core.errors import Conflict
from core.services import jobs
from tests.unit.execution.bench import (
    alive,
    eventually,
    job_of,
    scenario_command,
    settings_for,
    submit,
)

MODULE = "tests.unit.execution.embedded_process"


def start(scenario: str, folder: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-m", MODULE, scenario, str(folder)])


@pytest.mark.parametrize("scenario", ["wait", "hang"])
def test_kill_9_leaves_no_orphan_and_the_next_start_goes_on(tmp_path: Path, scenario: str) -> None:
    process = start(scenario, tmp_path)
    try:
        eventually((tmp_path / "ready").exists)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    eventually(lambda: not alive(int((tmp_path / "pid").read_text())))
    if scenario == "hang":
        eventually(lambda: not alive(int((tmp_path / "grandchild").read_text())))
    (tmp_path / "enough").touch()
    subprocess.run([sys.executable, "-m", MODULE, "wait", str(tmp_path)], check=True, timeout=60)
    sessions = Sessions(settings_for(tmp_path / "home").database).within(DEFAULT)
    with sessions.read() as session:
        ((job,), _) = jobs.listing(session, limit=10)
    assert (job.state, job.attempt, job.fence) == (JobState.SUCCEEDED, 2, 2)
    assert list((tmp_path / "home" / "scratch").iterdir()) == []
    sessions.dispose()


def test_one_home_has_one_process(tmp_path: Path) -> None:
    settings = settings_for(tmp_path / "home")
    command = scenario_command("succeed", tmp_path)
    with (
        embedded(settings, child_command=command),
        pytest.raises(Conflict, match="Another Headstart process"),
        embedded(settings),
    ):
        pass
    with embedded(settings, child_command=command) as container:  # the lock went with its holder
        container.sessions.check()


def test_leaving_drains_and_coming_back_goes_on(tmp_path: Path) -> None:
    settings = settings_for(tmp_path / "home")
    command = scenario_command("wait", tmp_path)
    with embedded(settings, child_command=command) as container:
        job_id = submit(container.sessions.within(DEFAULT))
        container.queue.announce(job_id, job_of(container.sessions, job_id).queue)
        eventually((tmp_path / "ready").exists)
    assert not alive(int((tmp_path / "pid").read_text()))
    (tmp_path / "enough").touch()
    with embedded(settings, child_command=command) as container:
        eventually(lambda: job_of(container.sessions, job_id).finished)
        job = job_of(container.sessions, job_id)
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 1)
