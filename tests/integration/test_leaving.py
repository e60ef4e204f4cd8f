"""The deployed API is replaced under load: whoever asks whether it is ready sees no failure."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from core.db import schema
from tests.e2e import shapes
from tests.fixtures.processes import Process
from tests.fixtures.servers import free_port
from tests.unit.execution.bench import eventually

ASKS_SECONDS = 0.5  # how often the balancer looks
CLIENTS = 8


@dataclass
class Balancer:
    """Clients of one service, as long as its last answer to /readyz was yes."""

    url: str
    sends: bool = True
    answers: list[int] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)

    def client(self) -> None:
        """Requests on one connection, one after the other."""
        with httpx.Client(base_url=self.url, timeout=30, trust_env=False) as http:
            while self.sends:
                try:
                    self.answers.append(http.get("/v1/datasets").status_code)
                except httpx.TransportError as error:
                    self.failures.append(error)
                    return

    def look(self) -> None:
        """Ask until it says no."""
        with httpx.Client(base_url=self.url, timeout=30, trust_env=False) as http:
            while http.get("/readyz").is_success:
                time.sleep(ASKS_SECONDS)
        self.sends = False


@pytest.fixture
def api(tmp_path: Path) -> Iterator[tuple[Process, str]]:
    home = tmp_path / "home"
    home.mkdir()
    schema.migrate(f"sqlite:///{home / 'headstart.db'}")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    where = ("--host", "127.0.0.1", "--port", str(port), "--timeout-graceful-shutdown", "20")
    process = Process(
        [sys.executable, "-m", "uvicorn", "--factory", "api.main:create", *where],
        {**os.environ, "HEADSTART_HOME": str(home)},
        folder=tmp_path / "run",
        log=tmp_path / "log",
        ready=lambda _: _answers(url),
    )
    process.start()
    yield process, url
    process.close()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=5, trust_env=False).is_success
    except httpx.TransportError:
        return False


def _begun(target: Callable[[], None], count: int = 1) -> list[threading.Thread]:
    threads = [threading.Thread(target=target) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads


def test_no_request_fails_while_the_service_leaves(
    api: tuple[Process, str], tmp_path: Path
) -> None:
    process, url = api
    archive = shapes.archive(tmp_path / "s.zip", images=2, seed=1).read_bytes()
    uploads: list[int] = []

    def slow() -> Iterator[bytes]:
        """An upload that goes on until all have heard that the service leaves, and longer."""
        yield archive[:100]
        eventually(lambda: not balancer.sends, seconds=60)
        yield archive[100:]

    def upload() -> None:
        headers = {"Content-Type": "application/zip"}
        answer = httpx.post(
            f"{url}/v1/datasets?name=s",
            content=slow(),
            headers=headers,
            trust_env=False,
            timeout=60,
        )
        uploads.append(answer.status_code)

    balancer = Balancer(url)
    threads = [*_begun(balancer.client, CLIENTS), *_begun(upload), *_begun(balancer.look)]
    eventually(lambda: len(balancer.answers) > 5 * CLIENTS, seconds=60)
    process.send(signal.SIGTERM)
    for thread in threads:
        thread.join(60)
    assert balancer.failures == []
    assert set(balancer.answers) == {200}
    assert uploads == [201]
    eventually(lambda: not process.alive, seconds=60)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/healthz", trust_env=False)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_is_told_twice_leaves_at_once(
    api: tuple[Process, str], number: signal.Signals
) -> None:
    process, url = api
    process.send(signal.SIGTERM)
    eventually(lambda: httpx.get(f"{url}/readyz", trust_env=False).status_code == 503, seconds=60)
    still = httpx.get(f"{url}/v1/datasets", trust_env=False)
    assert (still.status_code, still.headers["Connection"]) == (200, "close")
    told = httpx.get(f"{url}/readyz", trust_env=False)
    assert told.json()["status"] == "leaving"
    assert "Retry-After" in told.headers
    assert process.stop(number) < 4.0  # sooner than without the second word
    assert "Application shutdown complete" in process.said()
