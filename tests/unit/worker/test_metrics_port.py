"""What a worker counts, asked for at its own port."""

import re
import socket
from pathlib import Path

import httpx
import pytest

from core.db import schema
from core.db.sessions import Sessions
from core.domain.identity import DEFAULT
from core.domain.jobs import JobState, QueueName
from core.execution import metrics
from tests.fixtures.servers import free_port
from tests.unit.execution.bench import (
    eventually,
    job_of,
    scenario_command,
    settings_for,
    submit,
)
from worker.lifecycle import Lifecycle

SAMPLE = re.compile(r"(?m)^(headstart_\w+)(\{[^}]*\})? (\S+)$")


def scraped(port: int) -> dict[str, float]:
    with httpx.Client(trust_env=False) as client:
        answer = client.get(f"http://127.0.0.1:{port}/metrics")
    assert answer.status_code == 200
    return {name + labels: float(value) for name, labels, value in SAMPLE.findall(answer.text)}


def test_a_worker_tells_what_it_did(tmp_path: Path) -> None:
    port = free_port() - 1
    settings = settings_for(
        tmp_path / "home",
        redis_url="redis://127.0.0.1:1/0",
        metrics_port=port,
        worker_place=1,  # of a fleet: each has a port of its own
    )
    schema.migrate(settings.database)
    sessions = Sessions(settings.database).within(DEFAULT)
    job_id = submit(sessions)
    lifecycle = Lifecycle(settings, child_command=scenario_command("succeed", tmp_path))
    lifecycle.begin([QueueName.CPU], 1)
    try:
        before = scraped(port + 1)
        eventually(lambda: job_of(sessions, job_id).state is JobState.SUCCEEDED)
        ended = 'headstart_jobs_finished_total{code="",kind="embed",state="succeeded"}'
        eventually(lambda: scraped(port + 1)[ended] == before[ended] + 1)
        after = scraped(port + 1)
        job = job_of(sessions, job_id)
        for name, gain in (
            ('headstart_job_seconds_count{kind="embed"}', 1),
            ('headstart_job_seconds_sum{kind="embed"}', job.cost_seconds),
            ("headstart_lease_lost_total", 0),
        ):
            assert after[name] - before[name] == pytest.approx(gain)
        assert not any(name.startswith("headstart_queue") for name in after)
    finally:
        lifecycle.end()
        sessions.dispose()
    with socket.socket() as gone, pytest.raises(ConnectionRefusedError):
        gone.connect(("127.0.0.1", port + 1))


def test_a_port_that_is_taken_keeps_no_worker_from_work() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        metrics.serve(taken.getsockname()[1], host="127.0.0.1")()
