"""Requests do not keep a job from its beats, not even where one process serves and supervises."""

import itertools
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import httpx
import pytest

from tests.cluster.running import answers
from tests.e2e import shapes
from tests.e2e.test_http import SPACE, TRAINING, uploaded
from tests.fixtures.processes import Process
from tests.fixtures.servers import free_port
from tests.unit.execution.bench import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CLIENTS, LOAD_SECONDS = 50, 12.0
HEARTBEAT = 2.0
CLOCKS = {"HEARTBEAT": HEARTBEAT, "SELF_STOP": 15, "LEASE": 20, "SWEEP": 1}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[str]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    told = {f"HEADSTART_JOBS__{name}": str(value) for name, value in CLOCKS.items()}
    process = Process(
        [sys.executable, "-m", "api.cli", "serve", "--port", str(port)],
        {**os.environ, **told, "HEADSTART_HOME": str(tmp_path / "home"), "HEADSTART_SLOTS": "1"},
        folder=tmp_path / "run",
        log=tmp_path / "log",
        ready=lambda _: answers(url),
    )
    process.start()
    yield url
    process.close()


def begun(url: str, archive: Path) -> str:
    """A search that runs for as long as the test."""
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as http:
        dataset = uploaded(http, archive, "shapes")
        training = TRAINING | {"epochs": 10_000}
        body = {"dataset_id": dataset["id"], "policy": "cold", "space": SPACE, "patience": 0}
        job: str = http.post("/v1/searches", json=body | {"training": training}).json()["job"][
            "id"
        ]
        eventually(lambda: http.get(f"/v1/jobs/{job}").json()["progress"] > 0, seconds=120)
    return job


def load(url: str, job: str, end: float, answered: list[int]) -> None:
    """Ask for this and that without a pause."""
    paths = (f"/v1/jobs/{job}", "/v1/datasets", f"/jobs/{job}", f"/v1/jobs/{job}/records")
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as http:
        for path in itertools.cycle(paths):
            answered.append(http.get(path).status_code)
            if time.monotonic() > end:
                return


def beats(database: Path, end: float) -> list[datetime]:
    """Every beat of the search until then, by the database's clock."""
    found: list[str] = []
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30) as connection:
        while time.monotonic() < end:
            question = "SELECT heartbeat_at FROM jobs WHERE kind = 'search'"
            ((at,),) = connection.execute(question).fetchall()
            found += [at] if at not in found else []
            time.sleep(0.1)
    return [datetime.fromisoformat(at) for at in found]


def test_fifty_clients_do_not_make_a_beat_late(service: str, tmp_path: Path) -> None:
    job = begun(service, shapes.archive(tmp_path / "s.zip", images=24, seed=1))
    answered: list[int] = []
    end = time.monotonic() + LOAD_SECONDS
    clients = [
        threading.Thread(target=load, args=(service, job, end, answered)) for _ in range(CLIENTS)
    ]
    for client in clients:
        client.start()
    seen = beats(tmp_path / "home" / "headstart.db", end)
    for client in clients:
        client.join()
    gaps = [(after - before).total_seconds() for before, after in itertools.pairwise(seen)]
    assert len(gaps) >= 2
    assert max(gaps) <= 2 * HEARTBEAT
    assert len(answered) >= CLIENTS
    assert set(answered) == {200}
    with httpx.Client(base_url=service, timeout=60, trust_env=False) as http:
        events = http.get(f"/v1/jobs/{job}/events").json()["items"]
        assert [each["to_state"] for each in events] == ["queued", "running"]
