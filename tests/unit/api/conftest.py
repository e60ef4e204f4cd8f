"""The application behind a real server, over SQLite, local files and a queue that remembers."""

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

import headstart
from api import cli
from api.app import create_app
from api.polling import Polls
from api.watching import Watcher
from core import bootstrap
from core.bootstrap import Container
from core.config import Settings, UploadLimits
from core.domain.jobs import JobId, QueueName
from core.errors import Unavailable
from core.execution.metrics import Everything
from core.execution.supervisor import Supervisor
from tests.fixtures.databases import migrated_sqlite
from tests.fixtures.projects import of_project
from tests.fixtures.servers import UNTRUSTING
from tests.unit.api.recording import Recorder

__all__ = ["migrated_sqlite"]

ARCHIVE_BYTES = 200_000


class Bell:
    """A queue that remembers what was announced, and can be broken."""

    def __init__(self) -> None:
        self.rung: list[tuple[JobId, QueueName]] = []
        self.broken = False

    def announce(self, job_id: JobId, queue: QueueName) -> None:
        self.rung.append((job_id, queue))

    def check(self) -> None:
        if self.broken:
            raise Unavailable("The message broker does not answer.")


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
def container(migrated_sqlite: Path, tmp_path: Path, bell: Bell) -> Iterator[Container]:
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(migrated_sqlite, home / "headstart.db")
    settings = Settings(home=home, uploads=UploadLimits(archive_bytes=ARCHIVE_BYTES))
    built = bootstrap.build(settings, queue=bell)
    yield of_project(built)
    built.close()


class Served:
    """One application on a port of its own; each test gives it a container."""

    def __init__(self, app: FastAPI, url: str, recorder: Recorder) -> None:
        self.app = app
        self.url = url
        self.recorder = recorder


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("served")
    app = create_app(bootstrap.build(Settings(home=home)))
    recorder = Recorder(app, app)
    config = uvicorn.Config(recorder, log_config=None, access_log=False, ws="none", lifespan="off")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        yield Served(app, f"http://127.0.0.1:{listener.getsockname()[1]}", recorder)
        server.should_exit = True
        thread.join(timeout=10)


@pytest.fixture(autouse=True)
def nothing_undocumented(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever the service answers in a test, its OpenAPI document names."""
    yield
    if "served" in request.fixturenames:
        recorder = request.getfixturevalue("served").recorder
        found, recorder.found = recorder.found, []
        assert not found


@pytest.fixture
def furnished(served: Served, container: Container) -> Served:
    """The service on this test's own rows and files."""
    served.app.state.container = container
    watcher = Watcher(container.sessions)
    served.app.state.watcher = watcher
    served.app.state.polls = Polls(container.sessions, watcher.thread, lately=0.0)
    served.app.state.metrics = Everything(container.sessions)
    return served


@pytest.fixture
def client(furnished: Served) -> Iterator[httpx.Client]:
    """A well-behaved program on this machine."""
    with httpx.Client(
        base_url=furnished.url, timeout=60, trust_env=False, verify=UNTRUSTING
    ) as opened:
        yield opened


@pytest.fixture
def program(served: Served, client: httpx.Client) -> Iterator[headstart.Client]:
    """A program that uses the client."""
    with headstart.Client(served.url) as opened:
        yield opened


@pytest.fixture
def worker(container: Container) -> Iterator[None]:
    """Somebody who computes what is asked of CPU workers, intake first of all."""
    supervisor, over = Supervisor(container.sessions, container.settings, "here"), Event()

    def work() -> None:
        while not over.is_set():
            if not supervisor.run_next(QueueName.CPU):
                over.wait(0.05)

    thread = threading.Thread(target=work)
    thread.start()
    yield
    over.set()
    supervisor.drain()
    thread.join()


Say = Callable[..., str]


def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a command prints, run as the installed command would be."""
    monkeypatch.setattr("sys.argv", ["headstart", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    return f"{ended.value.code}\n{out}{err}"


@pytest.fixture
def say(
    client: httpx.Client,
    served: Served,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Say:
    """A person at the command line of this service."""
    assert client.get("/healthz").status_code == 200
    monkeypatch.setenv("HEADSTART_URL", served.url)
    return lambda *typed: said(monkeypatch, capsys, *typed)


@pytest.fixture
def browser(furnished: Served) -> Iterator[httpx.Client]:
    """A browser showing this service's own pages."""
    headers = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}
    with httpx.Client(
        base_url=furnished.url, headers=headers, timeout=60, trust_env=False, verify=UNTRUSTING
    ) as opened:
        yield opened
