"""Many clients at once ask for work, are cut off and ask again: each key makes one job."""

import json
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import pytest
import uvicorn

from api.app import create_app
from core import bootstrap
from core.bootstrap import Container
from core.config import Settings
from core.services import jobs
from tests.fixtures.projects import of_project
from tests.unit.api import scenes

REQUESTS, KEYS, CLIENTS = 1_000, 100, 20
CUT = 0.1  # the share of requests whose client does not wait for the answer

pytestmark = [
    pytest.mark.services,
    pytest.mark.slow,
    pytest.mark.parametrize("database_url", ["postgresql"], indirect=True),
]


@pytest.fixture
def container(database_url: str, tmp_path: Path) -> Iterator[Container]:
    built = bootstrap.build(Settings(home=tmp_path, database_url=database_url))
    yield of_project(built)
    built.close()


@pytest.fixture
def port(container: Container) -> Iterator[int]:
    """The application, served."""
    app = create_app(container)
    config = uvicorn.Config(app, log_config=None, access_log=False, ws="none", lifespan="off")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join(timeout=10)


class Client:
    """One of those who ask, over a connection that is kept until it is cut."""

    def __init__(self, port: int, dataset_id: str, seed: int) -> None:
        self._http = HTTPConnection("127.0.0.1", port, timeout=20)
        self._dataset_id = dataset_id
        self._chance = random.Random(seed)

    def ask(self, key: int) -> tuple[int, int, str] | None:
        """The key, the status and the search's id; None when the answer was not waited for."""
        training = {"seed": key}
        body = json.dumps({"dataset_id": self._dataset_id, "training": training})
        headers = {"Idempotency-Key": f"key-{key}", "Content-Type": "application/json"}
        self._http.request("POST", "/v1/searches", body, headers)
        if self._chance.random() < CUT:
            self._http.close()
            return None
        answer = self._http.getresponse()
        found = json.loads(answer.read())
        return key, answer.status, found.get("id", found.get("code"))

    def ask_each(self, keys: list[int]) -> list[tuple[int, int, str] | None]:
        """What came of them, in order."""
        try:
            return [self.ask(key) for key in keys]
        finally:
            self._http.close()


def test_as_many_jobs_as_keys(container: Container, port: int) -> None:
    target = str(scenes.dataset(container).id)
    keys = [number % KEYS for number in range(REQUESTS)]
    # Each key's requests are made by different clients at about the same time.
    keys.sort(key=lambda key: key // (KEYS // 5))
    work = [keys[client::CLIENTS] for client in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [Client(port, target, seed) for seed in range(CLIENTS)]
        done = list(pool.map(Client.ask_each, clients, work))
    answers = [each for of_one in done for each in of_one if each is not None]
    assert REQUESTS * CUT / 2 < REQUESTS - len(answers) < REQUESTS * CUT * 2
    assert Counter(status for _, status, _ in answers) == {202: len(answers)}
    assert len({(key, id_) for key, _, id_ in answers}) == KEYS  # one id for each
    later = Client(port, target, seed=0).ask_each(list(range(KEYS)))
    assert {each for each in later if each is not None} <= set(answers)
    with container.sessions.read() as session:
        made = jobs.listing(session, limit=REQUESTS)[0]
    assert len(made) == KEYS
    assert {job.spec["training"]["seed"] for job in made} == set(range(KEYS))
