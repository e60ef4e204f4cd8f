"""Threads and connections: nobody waits for one while holding what the others wait for."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from threading import Event
from typing import Any

import httpx
import pytest
from anyio import fail_after, to_thread
from sqlalchemy import event

from api import contract, deps
from api.app import create_app
from api.routes import health
from core.bootstrap import Container
from core.domain.datasets import Problem
from tests.unit.api import scenes

MANY = 60  # more than there are threads (40) and connections (15)


@asynccontextmanager
async def program(container: Container) -> AsyncIterator[httpx.AsyncClient]:
    """A program that asks in the event loop of the service itself."""
    transport = httpx.ASGITransport(create_app(container))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as opened:
        yield opened


async def in_use(at_least: int) -> int:
    """How many threads are, once nothing moves any more."""
    threads, before, now = to_thread.current_default_thread_limiter(), -1.0, 0.0
    while before != now or now < at_least:
        before = now
        await asyncio.sleep(0.2)
        now = threads.borrowed_tokens
    return int(now)


def test_who_waits_for_a_connection_keeps_no_thread(container: Container) -> None:
    scenes.dataset(container)
    go_on = Event()
    engine: Any = container.sessions._engine

    @event.listens_for(engine, "before_cursor_execute")
    def slow(*_: Any) -> None:
        assert go_on.wait(60)

    async def ask() -> tuple[int, set[int]]:
        async with program(container) as client:
            asked = [asyncio.ensure_future(client.get("/v1/datasets")) for _ in range(MANY)]
            now = await in_use(deps.READERS)
            go_on.set()
            return now, {(await each).status_code for each in asked}

    assert asyncio.run(ask()) == (deps.READERS, {200})


def test_fewer_have_a_session_than_there_are_connections(container: Container) -> None:
    pool: Any = container.sessions._engine.pool
    assert pool.size() + pool._max_overflow > deps.READERS + deps.WRITERS


@pytest.mark.parametrize(
    ("page", "method", "most"),
    [
        ("/v1/models/{model}/artifacts/model.onnx", "open", deps.FILES),
        ("/datasets/{dataset}/report", "open", deps.FILES),
        ("/operations/live", "check", health.AT_ONCE),
        ("/readyz", "check", health.AT_ONCE),
    ],
)
def test_a_slow_store_leaves_threads_and_sessions_for_what_is_answered_at_once(
    container: Container, monkeypatch: pytest.MonkeyPatch, page: str, method: str, most: int
) -> None:
    found = Problem("warning", "near_duplicate", "b.png", "Alike.", ("a.png",))
    dataset = scenes.dataset(container, problems=(found,))
    _, model = scenes.finished(container, dataset)
    go_on, fetched = Event(), getattr(container.store, method)

    def slow(*of: str) -> Any:
        assert go_on.wait(60)
        return fetched(*of)

    monkeypatch.setattr(container.store, method, slow)
    address = page.format(model=model.id, dataset=dataset.id)

    async def ask() -> tuple[int, int, set[int]]:
        async with program(container) as client:
            asked = [asyncio.ensure_future(client.get(address)) for _ in range(MANY)]
            try:
                now = await in_use(most)
                with fail_after(5):
                    quick = await client.get("/v1/jobs")
            finally:
                go_on.set()
            return now, quick.status_code, {(await each).status_code for each in asked}

    assert asyncio.run(ask()) == (most, 200, {200})


def test_a_process_lives_though_all_its_threads_wait(container: Container) -> None:
    free = Event()

    async def ask() -> int:
        to_thread.current_default_thread_limiter().total_tokens = 1
        waiting = asyncio.ensure_future(to_thread.run_sync(free.wait))
        try:
            async with program(container) as client:
                with fail_after(10):
                    return (await client.get("/healthz")).status_code
        finally:
            free.set()
            await waiting

    assert asyncio.run(ask()) == 200


def test_the_document_is_made_once_and_where_it_holds_nobody_up(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_in: list[threading.Thread] = []
    document = contract.document

    def noted(raw: Any) -> Any:
        made_in.append(threading.current_thread())
        return document(raw)

    monkeypatch.setattr(contract, "document", noted)

    async def ask() -> tuple[list[int], threading.Thread]:
        async with program(container) as client:
            tag = (await client.get("/openapi.json")).headers["etag"]
            known = {"If-None-Match": tag}
            again = [await client.get("/openapi.json", headers=each) for each in ({}, known)]
            return [each.status_code for each in again], threading.current_thread()

    told, loop = asyncio.run(ask())
    assert told == [200, 304]
    assert len(made_in) == 1
    assert made_in[0] is not loop
