"""News of jobs from real servers: soon after it happened, and until they are told to stop."""

import asyncio
import math
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from core.db import schema
from core.db.sessions import Sessions
from core.domain.identity import DEFAULT
from core.domain.jobs import Job, JobKind, QueueName
from core.services import jobs
from tests.fixtures.processes import Process
from tests.fixtures.servers import free_port

TOLD_SECONDS = 1.0  # after a change
ENDED_SECONDS = 2.0  # after the signal
EACH = 30  # long polls, and streams
ROUNDS = 8  # of which the best counts: these machines have other work


@dataclass
class Server:
    """One of our programs, and the database behind it."""

    process: Process
    url: str
    sessions: Sessions

    def job(self) -> Job:
        """One that no worker of the service can take: it is never seen waiting."""
        with self.sessions.begin() as session:
            jobs.submit(session, kind=JobKind.SEARCH, spec={}, dataset_id=None)
            job = jobs.claim(session, queue=QueueName.GPU, owner="test", lease_seconds=600)
        assert job is not None
        return job

    def beat(self, job: Job, cost: float) -> float:
        """Change it; when that was there to be seen."""
        terms = {"lease_seconds": 600.0, "cost_seconds": cost}
        with self.sessions.begin() as session:
            jobs.beat(session, job.id, job.fence, progress=None, **terms)
        return time.monotonic()


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=5, trust_env=False).is_success
    except httpx.TransportError:
        return False


@pytest.fixture(params=["embedded", pytest.param("cluster", marks=pytest.mark.services)])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    home, port = tmp_path / "home", free_port()
    where = ["--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, "HEADSTART_HOME": str(home)}
    if request.param == "embedded":
        database = f"sqlite:///{home / 'headstart.db'}"
        command = [sys.executable, "-m", "api.cli", "serve", *where]
    else:
        database = request.getfixturevalue("postgres_url")
        schema.migrate(database)
        environment["HEADSTART_DATABASE_URL"] = database
        patience = ["--timeout-graceful-shutdown", "20"]
        command = [sys.executable, "-m", "uvicorn", "--factory", "api.main:create"]
        command += [*where, *patience]
    url = f"http://127.0.0.1:{port}"
    process = Process(
        command,
        environment,
        folder=tmp_path / "run",
        log=tmp_path / "log",
        ready=lambda _: _ready(url),
    )
    process.start()
    sessions = Sessions(database).within(DEFAULT)
    yield Server(process, url, sessions)
    sessions.dispose()
    process.close()


class Audience:
    """Callers that wait for news of one job, and when each last heard some, or the end."""

    def __init__(self, http: httpx.AsyncClient, job: Job) -> None:
        self.http, self.path = http, f"/v1/jobs/{job.id}"
        self.heard: dict[int, float] = {}
        self.answers = 0
        callers = [*(self._poll(i) for i in range(EACH)), *(self._hear(-i) for i in range(EACH))]
        self.all = asyncio.gather(*callers)

    async def _poll(self, number: int) -> None:
        tag = ""
        while True:
            known = {"Prefer": "wait=30", "If-None-Match": tag} if tag else {}
            answer = await self.http.get(self.path, headers=known)
            self.heard[number] = time.monotonic()
            if answer.headers.get("connection") == "close" or answer.status_code == 304:
                return
            tag = answer.headers["etag"]

    async def _hear(self, number: int) -> None:
        async with self.http.stream("GET", f"{self.path}/stream") as answer:
            async for line in answer.aiter_lines():
                if line.startswith("event: "):
                    self.heard[number - EACH] = time.monotonic()
        self.heard[number - EACH] = time.monotonic()

    async def after(self, moment: float) -> float:
        """Seconds until the last of them has heard something later than this."""
        while len(self.heard) < 2 * EACH or min(self.heard.values()) < moment:
            assert not self.all.done(), await self.all
            await asyncio.sleep(0.01)
        return max(self.heard.values()) - moment


def test_news_comes_soon_and_who_waits_holds_up_nobody(server: Server) -> None:
    job = server.job()

    async def inside() -> tuple[float, float]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(
            base_url=server.url, timeout=60, trust_env=False, limits=limits
        ) as http:
            audience, begun = Audience(http, job), time.monotonic()
            await audience.after(begun)
            told = list[float]()
            while len(told) < ROUNDS and min(told, default=math.inf) > TOLD_SECONDS:
                changed = await asyncio.to_thread(server.beat, job, 2.0 + len(told))
                told.append(await audience.after(changed))
                await asyncio.sleep(0.7)
            await asyncio.sleep(3)  # nobody is between two long polls any more
            asked = time.monotonic()
            server.process.send(signal.SIGTERM)
            await audience.all
            return min(told), max(audience.heard.values()) - asked

    told, ended = asyncio.run(inside())
    assert told <= TOLD_SECONDS
    assert ended <= ENDED_SECONDS
    assert server.process.stop() < 20  # a word more, and it goes at once
