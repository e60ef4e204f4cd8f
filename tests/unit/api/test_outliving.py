"""What lasts longer than a key: streams and long polls end with it."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from api import recognition, streaming
from api.watching import Watcher
from core.db.clock import now
from core.db.identity_tables import ApiKeyRow, BrowserSessionRow
from core.domain.identity import DEFAULT, Scope
from core.domain.jobs import Job
from core.services import api_keys, browser_sessions, jobs
from tests.unit.api import scenes
from tests.unit.api.callers import Caller
from tests.unit.api.keyed import Keyed, keyed

STREAM = "/stream"


SAME_ORIGIN = (b"sec-fetch-site", b"same-origin")


@pytest.fixture
def service(migrated_sqlite: Path, tmp_path: Path) -> Iterator[Keyed]:
    for each in keyed(migrated_sqlite, tmp_path):
        each.app.state.recogniser._seconds = 0.0
        yield each


@pytest.fixture
def job(service: Keyed) -> Job:
    return scenes.running(service.mine, scenes.dataset(service.mine))


def key_of(service: Keyed) -> tuple[str, tuple[bytes, bytes]]:
    with service.container.sessions.begin() as session:
        key, text = api_keys.create(session, DEFAULT, name="brief", scope=Scope.READ)
    return key.id, (b"authorization", f"Bearer {text}".encode())


def login_of(service: Keyed) -> tuple[str, tuple[bytes, bytes]]:
    key_id, _ = key_of(service)
    with service.container.sessions.begin() as session:
        token = browser_sessions.begin(session, key_id)
    return key_id, (b"cookie", f"headstart={token}".encode())


def revoke(service: Keyed, key_id: str) -> None:
    with service.container.sessions.begin() as session:
        api_keys.revoke(session, key_id)


def expire(service: Keyed, key_id: str) -> None:
    with service.container.sessions.begin() as session:
        session.execute(update(ApiKeyRow).where(ApiKeyRow.id == key_id).values(expires_at=now(-1)))


def log_out(service: Keyed, key_id: str) -> None:
    with service.container.sessions.begin() as session:
        session.execute(
            update(BrowserSessionRow)
            .where(BrowserSessionRow.key_id == key_id)
            .values(expires_at=now(-1))
        )


def beat(service: Keyed, job: Job) -> None:
    with service.mine.sessions.begin() as session:
        stands = jobs.get(session, job.id)
        words = {"lease_seconds": 60, "cost_seconds": stands.cost_seconds + 1, "progress": None}
        jobs.beat(session, job.id, stands.fence, **words)  # type: ignore[arg-type]


async def waits(watcher: Watcher, number: int) -> None:
    async with asyncio.timeout(60):
        while len(watcher._waiters) != number:
            await asyncio.sleep(0.01)


Holder = Callable[[Keyed], tuple[str, tuple[bytes, bytes]]]
End = Callable[[Keyed, str], None]
WAYS = [(key_of, revoke), (key_of, expire), (login_of, revoke), (login_of, log_out)]


@pytest.mark.parametrize(("holder", "end"), WAYS)
def test_a_silent_stream_ends_with_its_key(
    service: Keyed, job: Job, holder: Holder, end: End, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "PING_SECONDS", 0.05)

    async def inside() -> bytes:
        watcher: Watcher = service.app.state.watcher
        key_id, header = holder(service)
        caller = Caller(service.app, f"/v1/jobs/{job.id}{STREAM}", header, SAME_ORIGIN, wait=30)
        await waits(watcher, 1)
        async with asyncio.timeout(60):
            while b": ping" not in caller.said:
                await asyncio.sleep(0.01)
        assert not caller.ended.done()  # a good key goes on
        end(service, key_id)
        await asyncio.wait_for(caller.ended, 60)
        assert (caller.status, watcher.admitted) == (200, 0)
        return caller.said

    assert b"event: end" not in service.runner.run(inside())


def test_a_stream_that_is_never_silent_ends_too(service: Keyed, job: Job) -> None:
    async def inside() -> None:
        key_id, header = key_of(service)
        caller = Caller(service.app, f"/v1/jobs/{job.id}{STREAM}", header, SAME_ORIGIN, wait=30)
        await waits(service.app.state.watcher, 1)
        revoke(service, key_id)
        told = caller.said
        beat(service, job)
        await asyncio.wait_for(caller.ended, 60)
        assert caller.said == told  # not even what happened before anybody looked

    service.runner.run(inside())


@pytest.mark.parametrize(("holder", "end"), WAYS)
def test_who_waits_is_told_nothing_after_its_key(
    service: Keyed, job: Job, holder: Holder, end: End
) -> None:
    async def inside() -> None:
        key_id, header = holder(service)
        caller = Caller(service.app, f"/v1/jobs/{job.id}", header, SAME_ORIGIN, wait=30)
        await waits(service.app.state.watcher, 1)
        end(service, key_id)
        beat(service, job)
        await asyncio.wait_for(caller.ended, 60)
        assert caller.status == 401
        assert str(job.id).encode() not in caller.said

    service.runner.run(inside())


def test_many_streams_of_a_key_share_a_look(
    service: Keyed, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "PING_SECONDS", 0.05)
    service.app.state.recogniser._seconds = 60.0
    looks: list[str] = []
    identify = api_keys.identify

    def counted(session: Any, text: str) -> Any:
        looks.append(text)
        return identify(session, text)

    monkeypatch.setattr(api_keys, "identify", counted)

    async def inside() -> None:
        _, header = key_of(service)
        callers = [
            Caller(service.app, f"/v1/jobs/{job.id}{STREAM}", header, SAME_ORIGIN, wait=30)
            for _ in range(50)
        ]
        await waits(service.app.state.watcher, 50)
        async with asyncio.timeout(60):
            while any(each.said.count(b": ping") < 3 for each in callers):
                await asyncio.sleep(0.01)
        service.app.state.watcher.leave()
        await asyncio.gather(*(each.ended for each in callers))

    service.runner.run(inside())
    assert len(looks) == 1


def test_the_bound_that_is_promised() -> None:
    assert streaming.PING_SECONDS + recognition.SECONDS <= 15
