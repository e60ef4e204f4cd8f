"""Every request has one id, one line and, if something broke, one traceback."""

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid4

import pytest
import structlog
from fastapi import FastAPI
from starlette.requests import ClientDisconnect

from api import requests
from api.app import create_app
from core import bootstrap
from core.bootstrap import Container
from core.errors import CorruptObject

FORGED = '7\r\n{"event": "request", "status": 200, "path": "/forged"}\x1b[31m\u2028'


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What is logged, for programs, until the test ends."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    bootstrap.configure_logging("json")
    (handler,) = root.handlers
    assert isinstance(handler, logging.StreamHandler)
    written = io.StringIO()
    handler.setStream(written)
    yield written
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


@pytest.fixture
def app(container: Container) -> FastAPI:
    settings = container.settings.model_copy(update={"log_format": "json"})
    return create_app(replace(container, settings=settings))


@dataclass
class Answer:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


def ask(
    app: FastAPI,
    path: str,
    *ids: bytes,
    method: str = "GET",
    host: bytes = b"localhost",
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> Answer:
    """The application's answer to what no decent server would pass on to it."""
    answer = Answer()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", host), *((b"x-request-id", each) for each in ids), *headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }

    body = iter([{"type": "http.request", "body": b""}])

    async def receive() -> dict[str, Any]:
        for message in body:
            return message
        await asyncio.Event().wait()  # whoever asks stays
        raise AssertionError

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {n.decode(): v.decode("latin-1") for n, v in message["headers"]}
            assert len(answer.headers) == len(message["headers"])
        else:
            answer.body += message.get("body", b"")

    asyncio.run(app(scope, receive, send))
    return answer


def lines(log: io.StringIO) -> list[dict[str, Any]]:
    """What was logged: each line is one object, whatever a caller sent."""
    return [json.loads(line) for line in log.getvalue().split("\n") if line]


def of_requests(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [each for each in found if each["event"] == "request"]


def test_each_request_is_one_line(app: FastAPI, log: io.StringIO) -> None:
    expected = []
    for path, method, host, status, operation in (
        ("/v1/jobs", "GET", b"localhost", 200, "jobs_list"),
        (f"/v1/jobs/{uuid4()}", "GET", b"localhost", 404, "jobs_get"),
        ("/v1/jobs", "DELETE", b"localhost", 405, "jobs_list"),
        ("/nowhere", "GET", b"localhost", 404, "none"),
        ("/v1/jobs", "GET", b"evil.example", 400, "none"),
        ("/static/headstart.css", "GET", b"localhost", 200, "staticfiles"),
        ("/jobs", "GET", b"localhost", 200, "job_pages.index"),
        ("/metrics", "GET", b"localhost", 200, "metrics"),
    ):
        answer = ask(app, path, method=method, host=host)
        assert answer.status == status
        seen = (path, method, status, operation, len(answer.body))
        expected.append((*seen, answer.headers["x-request-id"]))
    found = of_requests(lines(log))
    fields = ("path", "method", "status", "operation", "bytes", "request_id")
    assert [tuple(each[name] for name in fields) for each in found] == expected
    assert len({each["request_id"] for each in found}) == len(expected)
    assert all(0 <= each["ms"] < 60_000 for each in found)
    assert {each["level"] for each in found} == {"info"}


@pytest.mark.parametrize("given", [b"7", b"0b5e2a-7.x_Y", str(UUID(int=7)).encode(), b"a" * 64])
def test_an_id_that_is_safe_is_kept(app: FastAPI, given: bytes) -> None:
    answer = ask(app, f"/v1/jobs/{uuid4()}", given)
    assert answer.headers["x-request-id"].encode() == given
    assert answer.json["instance"] == f"urn:headstart:request:{given.decode()}"


@pytest.mark.parametrize(
    "given",
    [
        (),
        (b"",),
        (b"a" * 65,),
        (b"a b",),
        (b"-a",),
        (b"a\n",),
        (b"a\r\nSet-Cookie: x=1",),
        ("é".encode(),),
        (b"\xff\x00",),
        (b"<script>",),
        (b"one", b"two"),
        (FORGED.encode(),),
    ],
)
def test_any_other_is_replaced(app: FastAPI, log: io.StringIO, given: tuple[bytes, ...]) -> None:
    answer = ask(app, f"/v1/jobs/{uuid4()}", *given)
    assert answer.status == 404
    made = answer.headers["x-request-id"]
    assert len(made) == 32
    assert set(made) <= set("0123456789abcdef")
    assert answer.json["instance"] == f"urn:headstart:request:{made}"
    (line,) = lines(log)
    assert line["request_id"] == made


def test_a_hostile_request_cannot_forge_a_line(app: FastAPI, log: io.StringIO) -> None:
    path = f"/v1/jobs/{FORGED}" + "x" * 1_000
    answer = ask(app, path, FORGED.encode(), method=FORGED)
    said = log.getvalue()
    assert said.count("\n") == 1
    assert said.isascii()
    assert "\x1b" not in said
    line = json.loads(said)
    assert line["path"] == path[: requests.SHOWN]
    assert line["method"] == FORGED[:20]
    assert line["status"] == answer.status != 200
    assert FORGED not in line["request_id"]


def test_a_bug_is_logged_once_under_the_id_of_its_request(
    app: FastAPI, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("the bug")

    monkeypatch.setattr("core.services.jobs.listing", broken)
    answer = ask(app, "/v1/jobs", b"mine")  # the server hears of no exception
    assert (answer.status, answer.json["code"]) == (500, "internal")
    assert answer.headers["x-request-id"] == "mine"
    assert answer.json["instance"] == "urn:headstart:request:mine"
    failed, request = lines(log)
    assert (failed["event"], failed["level"]) == ("request_failed", "error")
    assert failed["exception"].count("RuntimeError: the bug") == 1
    assert (request["event"], request["status"], request["operation"]) == (
        "request",
        500,
        "jobs_list",
    )
    assert failed["request_id"] == request["request_id"] == "mine"


def test_what_a_route_logs_in_a_thread_bears_the_id(
    app: FastAPI, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*_: Any, **__: Any) -> None:
        raise CorruptObject("some/key is damaged")

    monkeypatch.setattr("core.services.jobs.listing", damaged)
    ask(app, "/v1/jobs", b"one")
    ask(app, "/v1/jobs", b"two")
    found = lines(log)
    assert [each["request_id"] for each in found] == ["one", "one", "two", "two"]
    assert structlog.contextvars.get_contextvars() == {}


def test_who_goes_away_is_no_bug(
    app: FastAPI, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any, **__: Any) -> None:
        raise ClientDisconnect

    monkeypatch.setattr("core.services.jobs.listing", gone)
    ask(app, "/v1/jobs")
    (line,) = lines(log)
    assert line["status"] == requests.GONE


def test_an_answer_that_is_cut_says_so(log: io.StringIO) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise OSError("the other half is gone")

    stack: Any = requests.Requests(broken, lines=True)
    assert ask(stack, "/v1/jobs").body == b"half"
    failed, request = lines(log)
    assert "the other half is gone" in failed["exception"]
    assert (request["status"], request["bytes"], request["cut"]) == (200, 4, True)


def test_people_are_shown_no_line_a_request(container: Container, log: io.StringIO) -> None:
    assert ask(create_app(container), "/v1/jobs").status == 200
    assert lines(log) == []


def test_the_servers_lines_go_where_ours_go_and_none_a_request() -> None:
    names = ("uvicorn", "uvicorn.error", "uvicorn.access")
    before = [
        (each := logging.getLogger(name), each.handlers[:], each.propagate) for name in names
    ]
    try:
        logging.getLogger("uvicorn").handlers = [logging.NullHandler()]
        logging.getLogger("uvicorn").propagate = False
        logging.getLogger("uvicorn.access").handlers = [logging.NullHandler()]
        requests.take_over_logs()
        assert not logging.getLogger("uvicorn").handlers
        assert logging.getLogger("uvicorn.error").hasHandlers() == logging.root.hasHandlers()
        assert not logging.getLogger("uvicorn.access").hasHandlers()  # what uvicorn asks
    finally:
        for logger, handlers, propagate in before:
            logger.handlers, logger.propagate = handlers, propagate
