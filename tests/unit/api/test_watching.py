"""Waiting for news of jobs, by long poll and by stream: what it costs, and what is told."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import anyio.to_thread
import httpx
import pytest
from fastapi import Request
from sqlalchemy import event

from api import conditional
from api.app import create_app
from api.watching import Watcher
from core.bootstrap import Container
from core.domain.identity import DEFAULT
from core.domain.jobs import Job, JobRecord
from core.errors import Unavailable
from core.services import jobs, news
from tests.unit.api import scenes
from tests.unit.api.callers import Caller
from tests.unit.api.conftest import Served
from tests.unit.execution.bench import eventually

WAITS = {"Prefer": "wait=20"}


@pytest.fixture
def job(container: Container) -> Job:
    return scenes.running(container, scenes.dataset(container))


@pytest.fixture
def watcher(served: Served, client: httpx.Client) -> Watcher:
    found: Watcher = served.app.state.watcher
    return found


def asked(**headers: str | list[str]) -> Request:
    lines = [
        (name.replace("_", "-").encode(), value.encode())
        for name, given in headers.items()
        for value in ([given] if isinstance(given, str) else given)
    ]
    return Request({"type": "http", "headers": lines})


@pytest.mark.parametrize("given", ['"a"', 'W/"a"', '"b", W/"a"', "*", " * ", ['"b"', '"a"']])
def test_a_tag_is_known_however_proxies_spell_it(given: str | list[str]) -> None:
    assert conditional.matches(asked(if_none_match=given), '"a"')
    assert conditional.matches(asked(if_none_match=given), 'W/"a"')


@pytest.mark.parametrize("given", ["", "a", '"ab"', '"b", "c"', '"*"', '"b*"', 'w/"A"'])
def test_another_tag_is_not(given: str) -> None:
    assert not conditional.matches(asked(if_none_match=given), '"a"')


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("wait=7", 7), ("respond-async, WAIT = 7", 7), ('wait="7"; x=y', 7), ("wait=0", 0),
     ("wait=60", 30), (["a=b", "wait=7"], 7), ("wait=7, wait=9", 7), ("wait=-1", 0),
     ("wait=soon", 0), ("waits=7", 0), ("wait", 0), ("", 0), ("wait=7.5", 0)],
)  # fmt: skip
def test_preferences_are_read_or_ignored(given: str | list[str], seconds: int) -> None:
    assert conditional.wait_of(asked(prefer=given)) == seconds


def later(work: Callable[[], object], seconds: float = 0.3) -> threading.Timer:
    timer = threading.Timer(seconds, work)
    timer.start()
    return timer


def beat(container: Container, job: Job, *steps: int) -> None:
    with container.sessions.begin() as session:
        now = jobs.get(session, job.id)
        words = {"lease_seconds": 60, "cost_seconds": now.cost_seconds + 1, "progress": None}
        jobs.beat(session, job.id, now.fence, **words)  # type: ignore[arg-type]
        lines = [JobRecord("search:0", step, {"fence": now.fence}) for step in steps]
        jobs.add_records(session, job.id, now.fence, lines)


@pytest.mark.parametrize("knows", [True, False])
def test_who_waits_hears_of_a_change(
    client: httpx.Client, container: Container, job: Job, knows: bool
) -> None:
    path = f"/v1/jobs/{job.id}"
    tag = client.get(path).headers["etag"]
    timer = later(lambda: beat(container, job))
    headers = WAITS | ({"If-None-Match": f"W/{tag}"} if knows else {})
    changed = client.get(path, headers=headers)
    timer.join()
    assert (changed.status_code, changed.json()["cost_seconds"]) == (200, 1)
    assert changed.headers["preference-applied"] == "wait=20"
    assert changed.headers["etag"] != tag
    # What has changed already is told at once, or this would take until the time limit of all.
    assert client.get(path, headers=WAITS | {"If-None-Match": tag}).status_code == 200


def test_time_that_runs_out_changes_nothing(client: httpx.Client, job: Job) -> None:
    path, wait = f"/v1/jobs/{job.id}", {"Prefer": "wait=1"}
    shown = client.get(path, headers=wait)
    same = client.get(path, headers=wait | {"If-None-Match": shown.headers["etag"]})
    assert (shown.status_code, same.status_code, same.content) == (200, 304, b"")
    assert shown.headers["etag"] == same.headers["etag"]
    assert same.headers["preference-applied"] == "wait=1"


def test_nobody_waits_for_what_has_ended_or_never_was(
    client: httpx.Client, container: Container, job: Job
) -> None:
    for path in (f"/v1/jobs/{uuid4()}", f"/v1/jobs/{uuid4()}/stream"):
        answer = client.get(path, headers=WAITS)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    with container.sessions.begin() as session:
        jobs.fail(session, job.id, job.fence, "diverged", "It diverged.")
    ended = client.get(f"/v1/jobs/{job.id}", headers=WAITS)
    assert ended.json()["state"] == "failed"
    known = WAITS | {"If-None-Match": ended.headers["etag"]}
    assert client.get(f"/v1/jobs/{job.id}", headers=known).status_code == 304


def test_beyond_the_limit_long_polls_are_polls_and_streams_are_refused(
    client: httpx.Client, served: Served, container: Container, job: Job
) -> None:
    served.app.state.watcher = Watcher(container.sessions, most=0)
    polled = client.get(f"/v1/jobs/{job.id}", headers=WAITS)
    assert polled.status_code == 200
    assert "preference-applied" not in polled.headers
    refused = client.get(f"/v1/jobs/{job.id}/stream")
    assert (refused.status_code, refused.json()["code"]) == (503, "busy")
    assert "retry-after" in refused.headers


@dataclass
class Frame:
    event: str
    data: Any
    id: str | None


def frames(lines: Iterator[str]) -> Iterator[Frame]:
    """As a browser reads them."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            yield Frame(fields["event"], json.loads(fields["data"]), fields.get("id"))
            fields = {}


def state(told: list[Frame]) -> object:
    """What a client knows that was told this."""
    moves = {each.data["seq"]: each.data for each in told if each.event == "move"}
    lines = {
        (each.data["stage"], each.data["step"]): each.data["values"]
        for each in told
        if each.event == "record"
    }
    return sorted(moves), moves, lines, told[-1].event, told[-1].data


def test_a_stream_cut_at_every_frame_and_resumed_tells_what_an_uncut_one_tells(
    client: httpx.Client, container: Container, job: Job
) -> None:
    path = f"/v1/jobs/{job.id}/stream"
    whole: list[Frame] = []

    def give_back_and_claim() -> None:
        with container.sessions.begin() as session:
            jobs.release(session, job.id, 1, reason="drained", delay_seconds=0, charge=False)
            jobs.claim(session, queue=job.queue, owner="again", lease_seconds=60)

    def finish() -> None:
        beat(container, job, 6)
        with container.sessions.begin() as session:
            jobs.finish(session, job.id, 2, {})

    script = iter(
        [
            lambda: beat(container, job, 0),
            lambda: beat(container, job, 1, 2),
            give_back_and_claim,
            lambda: beat(container, job, 2, 3, 4, 5),
            finish,
        ]
    )
    with client.stream("GET", path) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for frame in frames(answer.iter_lines()):
            whole.append(frame)
            if frame.event == "job":  # the last of a batch
                assert frame.id is not None
                next(script)()
    assert next(script, None) is None
    assert [each.event for each in whole].count("job") == 5
    assert whole[-1].data == client.get(f"/v1/jobs/{job.id}").json()
    for cut in range(len(whole)):
        told = whole[:cut]
        last = next((each.id for each in reversed(told) if each.id), None)
        with client.stream("GET", path, headers={"Last-Event-ID": last} if last else {}) as rest:
            told = told + list(frames(rest.iter_lines()))
        assert state(told) == state(whole)
    # Told all: 204 keeps an EventSource from coming again.
    answered = client.get(path, headers={"Last-Event-ID": str(whole[-1].id)})
    assert (answered.status_code, answered.content) == (204, b"")


@pytest.mark.parametrize(
    "id_", ["x", "1", "-1-", "1-2026-11-26", "1-0000-00-00T00:00:00Z", "9999999999-",
            "1-2026-11-26T10:00:00+14:00"]
)  # fmt: skip
def test_no_id_of_a_frame(client: httpx.Client, job: Job, id_: str) -> None:
    answer = client.get(f"/v1/jobs/{job.id}/stream", headers={"Last-Event-ID": id_})
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_event_id")


def test_a_stream_ends_when_the_service_leaves_and_can_be_taken_up(
    client: httpx.Client, watcher: Watcher, job: Job
) -> None:
    with client.stream("GET", f"/v1/jobs/{job.id}/stream") as answer:
        timer = later(watcher.leave)
        told = list(frames(answer.iter_lines()))
    timer.join()
    assert told[-1].event == "job"
    eventually(lambda: watcher.admitted == 0)


def test_a_caller_that_goes_away_is_forgotten(
    client: httpx.Client, watcher: Watcher, job: Job
) -> None:
    for suffix in ("", "/stream"):
        with pytest.raises(httpx.ReadTimeout):
            client.get(f"/v1/jobs/{job.id}{suffix}", headers=WAITS, timeout=0.3)
        eventually(lambda: watcher.admitted == 0)


class Counted:
    """How many connections of a container are in use, and the most that ever were."""

    def __init__(self, container: Container) -> None:
        self.now = self.most = 0
        engine = container.sessions._engine
        event.listen(engine, "checkout", lambda *_: self._add(1))
        event.listen(engine, "checkin", lambda *_: self._add(-1))

    def _add(self, number: int) -> None:
        self.now += number
        self.most = max(self.most, self.now)


async def admitted(watcher: Watcher, number: int) -> None:
    async with asyncio.timeout(60):
        while not watcher.admitted == len(watcher._waiters) == number:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("suffix", ["", "/stream"])
def test_500_wait_at_the_cost_of_one_connection_and_one_thread(
    container: Container, job: Job, suffix: str
) -> None:
    counted, before = Counted(container), set(threading.enumerate())

    async def inside() -> None:
        app = create_app(container)
        watcher: Watcher = app.state.watcher
        callers = [Caller(app, f"/v1/jobs/{job.id}{suffix}", wait=20) for _ in range(500)]
        await admitted(watcher, 500)
        pool = anyio.to_thread.current_default_thread_limiter().statistics()
        assert (pool.borrowed_tokens, len(set(threading.enumerate()) - before)) == (0, 1)
        with container.sessions.begin() as session:
            jobs.fail(session, job.id, job.fence, "diverged", "It diverged.")
        counted.most = 0
        await asyncio.gather(*(each.ended for each in callers))
        assert {each.status for each in callers} == {200}
        assert len(set(threading.enumerate()) - before) == 1

    asyncio.run(inside())
    assert counted.most == 1


@pytest.mark.parametrize("suffix", ["", "/stream"])
def test_1000_that_went_away_leave_nothing(container: Container, job: Job, suffix: str) -> None:
    async def inside() -> None:
        app = create_app(container)
        watcher: Watcher = app.state.watcher
        for _ in range(4):
            callers = [Caller(app, f"/v1/jobs/{job.id}{suffix}", wait=20) for _ in range(250)]
            await admitted(watcher, 250)
            for each in callers:
                each.gone.set()
            await asyncio.gather(*(each.ended for each in callers))
            await admitted(watcher, 0)

    asyncio.run(inside())


def test_leaving_releases_everybody_and_lets_nobody_in(container: Container, job: Job) -> None:
    async def inside() -> None:
        app = create_app(container)
        watcher: Watcher = app.state.watcher
        callers = [Caller(app, f"/v1/jobs/{job.id}", wait=20) for _ in range(20)]
        await admitted(watcher, 20)
        threading.Thread(target=watcher.leave).start()
        await asyncio.gather(*(each.ended for each in callers))
        assert {each.status for each in callers} == {200}
        assert watcher.full
        assert not await watcher.changed(job.id, "another", patience=60)

    asyncio.run(inside())


def test_who_wants_to_read_the_same_shares_what_has_not_begun(container: Container) -> None:
    begun: list[int] = []
    go_on = threading.Event()

    def look(_: object) -> int:
        begun.append(len(begun))
        assert go_on.wait(30)
        return begun[-1]

    async def inside() -> None:
        watcher = Watcher(container.sessions)
        first = asyncio.ensure_future(watcher.read(look, project=DEFAULT, name="a"))
        while not begun:
            await asyncio.sleep(0.01)
        later = [
            asyncio.ensure_future(watcher.read(look, project=DEFAULT, name="a")) for _ in range(5)
        ]
        other = asyncio.ensure_future(watcher.read(look, project=DEFAULT, name="b"))
        await asyncio.sleep(0)
        later.pop().cancel()  # takes nothing from those it shared with
        go_on.set()
        assert [await first, *[await each for each in later], await other] == [0, 1, 1, 1, 1, 2]

    asyncio.run(inside())


def test_a_lost_database_is_said_and_the_stream_ends(
    client: httpx.Client, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object, **__: object) -> None:
        raise Unavailable("The database does not answer; try again in a moment.")

    monkeypatch.setattr(news, "versions", lost)
    polled = client.get(f"/v1/jobs/{job.id}", headers=WAITS)
    assert (polled.status_code, polled.json()["code"]) == (503, "unavailable")
    with client.stream("GET", f"/v1/jobs/{job.id}/stream") as answer:
        told = list(frames(answer.iter_lines()))
    assert [each.event for each in told] == ["move", "move", "job"]
