"""Commit, then announce, then answer: in that order, and nothing of it when the commit fails."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import httpx
import pytest
from sqlalchemy.orm import Session

from core.bootstrap import Container
from core.db.sessions import Sessions
from core.domain.identity import ProjectId
from core.domain.jobs import JobId, QueueName
from core.errors import Unavailable
from core.services import jobs
from tests.unit.api import scenes
from tests.unit.api.conftest import Bell, Served


class WatchedSessions:
    """Sessions that write down when a write transaction begins and ends."""

    def __init__(self, inner: Sessions, order: list[str]) -> None:
        self.inner = inner
        self.order = order
        self.fail = False

    @contextmanager
    def begin(self) -> Iterator[Session]:
        with self.inner.begin() as session:
            self.order.append("begin")
            yield session
            if self.fail:
                raise Unavailable("The database does not answer; try again in a moment.")
        self.order.append("commit")

    def within(self, project: ProjectId) -> "WatchedSessions":
        view = WatchedSessions(self.inner.within(project), self.order)
        view.fail = self.fail
        return view

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class WatchedBell(Bell):
    """A queue that writes down when it is rung, and whether the job's row was there by then."""

    def __init__(self, sessions: Sessions, order: list[str]) -> None:
        super().__init__()
        self.sessions = sessions
        self.order = order

    def announce(self, job_id: JobId, queue: QueueName) -> None:
        with self.sessions.read() as session:
            jobs.get(session, job_id)
        self.order.append("announce")


@pytest.fixture
def order() -> list[str]:
    return []


@pytest.fixture
def watched(container: Container, served: Served, order: list[str]) -> Iterator[Container]:
    sessions = WatchedSessions(container.sessions, order)
    bell = WatchedBell(container.sessions, order)
    seen = replace(container, sessions=cast(Sessions, sessions), queue=bell)

    async def answering(message: Any, send: Any) -> None:
        if message["type"] == "http.response.start":
            order.append("answer")
        await send(message)

    inner = served.app.middleware_stack or served.app.build_middleware_stack()

    async def stack(scope: Any, receive: Any, send: Any) -> None:
        await inner(scope, receive, lambda message: answering(message, send))

    served.app.middleware_stack = stack
    yield seen
    served.app.middleware_stack = inner


def test_the_commit_comes_first_then_the_bell_then_the_answer(
    client: httpx.Client, served: Served, watched: Container, order: list[str]
) -> None:
    target = scenes.dataset(watched)
    order.clear()
    served.app.state.container = watched
    answer = client.post("/v1/searches", json={"dataset_id": str(target.id)})
    assert answer.status_code == 202
    audit = ["begin", "commit"]
    assert order == ["begin", "commit", "announce", *audit, "answer"]


def test_a_commit_that_fails_rings_nobody_and_promises_nothing(
    client: httpx.Client, served: Served, watched: Container, order: list[str]
) -> None:
    target = scenes.dataset(watched)
    order.clear()
    cast(WatchedSessions, watched.sessions).fail = True
    served.app.state.container = watched
    answer = client.post(f"/v1/datasets/{target.id}:rank")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert "location" not in answer.headers
    assert order == ["begin", "answer"]
    with watched.sessions.read() as session:
        assert jobs.listing(session, limit=5)[0] == ()


def test_a_refusal_inside_the_transaction_rolls_it_back(
    client: httpx.Client, container: Container, bell: Bell
) -> None:
    job = scenes.failed(container, scenes.dataset(container), "diverged", "It diverged.")
    answer = client.post(f"/v1/jobs/{job.id}:cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "illegal_transition")
    assert bell.rung == []
