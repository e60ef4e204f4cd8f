"""Jobs: waited for by long polls, followed by a stream, through outages of the server."""

from typing import Any

import httpx
import pytest

import headstart
from tests.unit.client.conftest import Pauses
from tests.unit.client.script import Broken, Script, client, frame, ok, problem

DONE: dict[str, Any] = {"id": "j", "kind": "search", "state": "succeeded", "poll_after_ms": None}
FAILED = {**DONE, "state": "failed", "error_code": "diverged", "error_message": "It diverged."}


def running(progress: float, **headers: str) -> httpx.Response:
    job = {**DONE, "state": "running", "poll_after_ms": 4000, "progress": progress}
    return ok(job, ETag=f'"{progress}"', **headers)


def unchanged(**headers: str) -> httpx.Response:
    return httpx.Response(304, headers=headers)


def test_waiting_asks_for_news_and_tells_of_it() -> None:
    news = running(0.5, Preference_Applied="wait=20")
    script, heard = Script(running(0.1), news, ok(DONE)), list[Any]()
    done = client(script).jobs.wait("j", progress=heard.append)
    assert done["state"] == "succeeded"
    assert [each.get("progress") for each in heard] == [0.1, 0.5, None]
    assert script.sent("if-none-match") == [None, '"0.1"', '"0.5"']
    assert script.sent("prefer") == [None, "wait=20", "wait=20"]


def test_what_has_not_changed_is_no_news() -> None:
    heard: list[Any] = []
    script = Script(running(0.1), unchanged(), running(0.1), running(0.2), ok(DONE))
    client(script).jobs.wait("j", progress=heard.append)
    assert [each.get("progress") for each in heard] == [0.1, 0.2, None]


@pytest.mark.parametrize("own", [2.0, 10.0, 60.0])
def test_the_server_has_the_time_it_takes_and_that_of_any_answer(own: float) -> None:
    script = Script(running(0.1), ok(DONE))
    client(script, timeout=own).jobs.wait("j")
    assert [each.extensions["timeout"]["read"] for each in script.heard] == [own, own + 20]
    assert {each.extensions["timeout"]["connect"] for each in script.heard} == {own}


def test_a_server_that_does_not_wait_says_how_soon_to_ask(pauses: list[float]) -> None:
    waited = {"Preference-Applied": "wait=20"}
    script = Script(running(0.1), unchanged(), unchanged(**waited), ok(DONE))
    client(script).jobs.wait("j")
    assert [round(each) for each in pauses] == [4, 1]


def test_a_server_without_tags_is_asked_as_it_says(pauses: list[float]) -> None:
    plain = ok({**DONE, "state": "running", "poll_after_ms": 2500})
    client(Script(plain, plain, ok(DONE))).jobs.wait("j")
    assert [round(each, 1) for each in pauses] == [2.5]


def test_waiting_survives_what_a_restart_looks_like(pauses: list[float]) -> None:
    away = [httpx.ConnectError("refused")] * 12
    script = Script(running(0.1), httpx.ReadError("reset"), *away, problem(503, "x"), ok(DONE))
    assert client(script, retry_for=1.0).jobs.wait("j")["state"] == "succeeded"
    assert len(pauses) == 14


class Away:
    """A server that is away until then, and of a job that is done."""

    def __init__(self, pauses: Pauses, until: float) -> None:
        self.pauses, self.until = pauses, until

    def __call__(self, _: httpx.Request) -> httpx.Response:
        if self.pauses.now < self.until:
            raise httpx.ConnectError("refused")
        return ok(DONE)


@pytest.mark.parametrize("timeout", [None, 7200.0])
def test_waiting_survives_nine_minutes_and_not_eleven(
    pauses: Pauses, timeout: float | None
) -> None:
    assert client(Away(pauses, 540)).jobs.wait("j", timeout=timeout) == DONE
    pauses.now = 0
    with pytest.raises(headstart.Unreachable):
        client(Away(pauses, 660)).jobs.wait("j", timeout=timeout)
    assert 570 < pauses.now <= 600


@pytest.mark.parametrize("looks", [0, 1])
def test_waiting_ends_in_time_while_the_server_is_away(pauses: Pauses, looks: int) -> None:
    script = Script(*[running(0.1)] * looks, *[httpx.ConnectError("refused")] * 1000)
    with pytest.raises(headstart.Timeout, match="after 60 seconds; it goes on") as late:
        client(script).jobs.wait("j", timeout=60)
    assert isinstance(late.value.__cause__, headstart.Unreachable)
    assert pauses.now <= 60


def test_a_refusal_while_there_is_time_is_said(pauses: Pauses) -> None:
    with pytest.raises(headstart.NotFound):
        client(Script(problem(404, "not_found"))).jobs.wait("j", timeout=60)


def test_how_a_job_ends_is_what_is_raised() -> None:
    with pytest.raises(headstart.JobFailed, match="It diverged") as failed:
        client(Script(ok(FAILED))).jobs.wait("j")
    assert failed.value.code == "diverged"
    assert failed.value.job == FAILED
    with pytest.raises(headstart.JobCancelled):
        client(Script(ok({**DONE, "state": "cancelled"}))).jobs.wait("j")


def test_of_a_refused_upload_all_is_told() -> None:
    finding = {"place": "cat/1.png", "code": "bad_image", "message": "Cut short."}
    records = {"items": [{"values": {"findings": [finding]}}], "next_page_token": None}
    with pytest.raises(headstart.JobFailed) as failed:
        client(Script(ok({**FAILED, "kind": "ingest"}), ok(records))).jobs.wait("j")
    assert failed.value.details == ("cat/1.png: Cut short.",)


def test_waiting_ends_in_time_and_the_job_goes_on(pauses: Pauses) -> None:
    prefers: list[str | None] = []

    def waits(request: httpx.Request) -> httpx.Response:
        assert request.method == "GET"
        prefers.append(request.headers.get("prefer"))
        pauses.now += int((prefers[-1] or "wait=1").removeprefix("wait="))
        return running(pauses.now, Preference_Applied="wait=20")

    with pytest.raises(headstart.Timeout, match="after 30 seconds; it goes on"):
        client(waits).jobs.wait("j", timeout=30)
    assert prefers == [None, "wait=20", "wait=9"]
    assert pauses.now == 30


def test_a_search_is_waited_for_and_fetched() -> None:
    submitted = {"id": "s", "job": {**DONE, "state": "queued"}}
    found, model = {"id": "s", "model_id": "m"}, {"id": "m", "artifacts": []}
    script = Script(*map(ok, (submitted, DONE, found, model)))
    search = client(script).searches.create("0199c2a4-5d1e-7c3f-9a41-2f6d0b8c7e15")
    assert search.result() == model
    assert search.job["state"] == "succeeded"


def events(*frames: bytes, broken: bool = False) -> httpx.Response:
    headers = {"Content-Type": "text/event-stream"}
    if broken:
        return httpx.Response(200, stream=Broken(*frames), headers=headers)
    return httpx.Response(200, content=b"".join(frames), headers=headers)


def test_a_stream_goes_on_where_it_was() -> None:
    first = (frame("record", {"step": 1}), frame("job", {}, "1-a"), b": ping\n\n")
    half = frame("record", {"step": 2})
    script = Script(
        events(*first, half, broken=True),
        problem(503, "busy"),
        events(),  # the service stops
        events(half, frame("end", {}, "2-b")),
    )
    heard = list(client(script).jobs.stream("j"))
    assert [each.event for each in heard] == ["record", "job", "record", "record", "end"]
    assert heard[0].data == {"step": 1}
    assert script.sent("last-event-id") == [None, "1-a", "1-a", "1-a"]
    assert heard[-1].id == "2-b"


def test_a_stream_of_which_all_was_told_is_empty() -> None:
    script = Script(httpx.Response(204))
    assert list(client(script).jobs.stream("j", after="9-z")) == []
    assert script.sent("last-event-id") == ["9-z"]


def test_a_stream_that_is_refused_ends() -> None:
    with pytest.raises(headstart.NotFound):
        list(client(Script(problem(404, "not_found"))).jobs.stream("j"))
