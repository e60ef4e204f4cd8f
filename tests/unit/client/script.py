"""A server that answers as it was told to, one answer a request."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx

import headstart

URL = "http://127.0.0.1:8765"
Answer = httpx.Response | Exception


class Script:
    """Answers in this order; `heard` are the requests."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.heard: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.heard.append(request)
        return said(self.answers.pop(0))

    def sent(self, name: str) -> list[str | None]:
        """A header of every request."""
        return [each.headers.get(name) for each in self.heard]


def said(answer: Answer) -> httpx.Response:
    """What comes of it."""
    if isinstance(answer, Exception):
        raise answer
    return answer


def client(script: Callable[[httpx.Request], httpx.Response], **options: Any) -> headstart.Client:
    """A client of such a server."""
    options = {"url": URL, "key": "hs_canary", **options}
    return headstart.Client(**options, transport=httpx.MockTransport(script))


def ok(body: Any, **headers: str) -> httpx.Response:
    """An answer in JSON; `_` in a header's name is a hyphen."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(200, json=body, headers=named)


def problem(status: int, code: str, **headers: str) -> httpx.Response:
    """A refusal."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = {
        "status": status,
        "code": code,
        "detail": f"It is {code}.",
        "errors": [{"place": "here", "code": code, "message": "Look."}],
    }
    return httpx.Response(status, json=body, headers={"X-Request-Id": "r1", **named})


class Broken(httpx.SyncByteStream):
    """A body that ends with its connection."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces
        raise httpx.ReadError("reset")


def frame(event: str, data: Mapping[str, Any], id_: str | None = None) -> bytes:
    """One event of a stream."""
    named = "" if id_ is None else f"id: {id_}\n"
    return f"event: {event}\n{named}data: {json.dumps(data)}\n\n".encode()
