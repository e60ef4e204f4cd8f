"""The application as an image starts it, and a PostgreSQL of its own, while a benchmark runs."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx

from tests.fixtures import postgres
from tests.fixtures.processes import Process
from tests.fixtures.servers import Identity, free_port, server_folder

OURS = "api.main:create"


@contextlib.contextmanager
def served(
    told: dict[str, str],
    folder: Path,
    *,
    factory: str = OURS,
    processes: int = 1,
    ready: str = "/readyz",
) -> Iterator[tuple[str, Process]]:
    """The application's address and its process; `folder` is where it runs and writes its log.

    It runs once `ready` answers with anything but a server's error.
    """
    folder.mkdir(exist_ok=True)
    url = f"http://127.0.0.1:{(port := free_port())}"
    command = [sys.executable, "-m", "uvicorn", "--factory", factory, "--host", "127.0.0.1"]
    command += ["--port", str(port), "--no-access-log", "--timeout-keep-alive", "65"]
    # One process is not watched by another.
    command += ["--workers", str(processes)] if processes > 1 else []
    process = Process(
        command,
        {**os.environ, **told, "PYTHONPATH": str(Path.cwd())},
        folder=folder / "run",
        log=folder / "log",
        ready=lambda _: _answers(f"{url}{ready}"),
    )
    process.start()
    try:
        yield url, process
    finally:
        process.close()


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(url, trust_env=False).status_code < 500
    return False


@contextlib.contextmanager
def database(name: str) -> Iterator[str]:
    """The URL of a PostgreSQL that is there for this alone."""
    identity = Identity.unprivileged()
    with server_folder(name, identity) as data:
        server = postgres.OwnServer(postgres.chosen_binaries(data), data, identity)
        server.start()
        try:
            yield server.url
        finally:
            server.close()
