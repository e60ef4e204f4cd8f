"""`headstart serve` as a user runs it: its own process, its own home, embedded workers."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import httpx
import pytest

from tests.fixtures.servers import UNTRUSTING, free_port

pytest.register_assert_rewrite("tests.e2e.journeys")  # so that it tells what it saw

READY_SECONDS, DRAIN_SECONDS = 120, 60
# Secrets of whoever operates the service, which nothing that it keeps or tells may hold.
PLANTED = {
    "HEADSTART_SECRET_KEY": "CANARY-secret-key-0123456789abcdef",
    "HEADSTART_METRICS_TOKEN": "CANARY-metrics-token-0123456789abcdef",
    "HEADSTART_WEBHOOKS__ENABLED": "true",
    "HEADSTART_MLFLOW__TRACKING_URI": "http://127.0.0.1:1",  # nobody is there to be told of any
    "HEADSTART_MLFLOW__TOKEN": "CANARY-mlflow",
    "AWS_SECRET_ACCESS_KEY": "CANARY-aws",
    "OTEL_EXPORTER_OTLP_HEADERS": "authorization=CANARY-otel",
}


@dataclass(frozen=True, slots=True)
class Service:
    """A running service: where it is, and where it writes."""

    url: str
    home: Path
    log: Path

    def paths(self) -> list[Path]:
        """All files and folders in its home. It works on: some may go while they are read."""
        found = os.walk(self.home)
        return [Path(place, name) for place, *names in found for name in chain(*names)]


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for all e2e tests; it must also stop cleanly."""
    with serving(tmp_path_factory.mktemp("service"), **PLANTED) as made:
        yield made


@contextmanager
def serving(folder: Path, **more: str) -> Iterator[Service]:
    """A service in this folder, with more settings if given."""
    port = free_port()
    made = Service(f"http://127.0.0.1:{port}", folder / "home", folder / "log")
    environment = {
        **os.environ,
        "HEADSTART_HOME": str(made.home),
        "HEADSTART_SLOTS": "2",
        "HEADSTART_JOBS__SWEEP": "1",
        "HEADSTART_JOBS__RETRY_DELAYS": "[0, 0, 0]",
        "OMP_NUM_THREADS": "1",
        **more,
    }
    command = [sys.executable, "-m", "api.cli", "serve", "--port", str(port)]
    with made.log.open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        _wait_until_ready(made, process)
        yield made
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            status = process.wait(timeout=DRAIN_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
    assert status == 0, made.log.read_text(errors="replace")[-4000:]


def _wait_until_ready(service: Service, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            if httpx.get(
                f"{service.url}/readyz", timeout=2, trust_env=False, verify=UNTRUSTING
            ).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    pytest.fail(f"the service did not start:\n{service.log.read_text(errors='replace')[-4000:]}")


@pytest.fixture
def http(service: Service) -> Iterator[httpx.Client]:
    """A program that talks to the service."""
    with httpx.Client(base_url=service.url, timeout=60, trust_env=False) as client:
        yield client
