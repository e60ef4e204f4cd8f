"""What a request makes its answer depend on: the answer it has (RFC 9110), and how long it waits
for another (RFC 7240)."""

import hashlib
import re
from collections.abc import Callable

from fastapi import Request, Response
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FOR_EVER = "private, max-age=31536000, immutable"
NO_CACHE = "no-cache"
LONGEST_WAIT = 30  # seconds: proxies cut connections that are silent for a minute
TAG = re.compile(r'(?:W/)?("[^"]*")')
WAIT = re.compile(r'\s*wait\s*=\s*"?(\d{1,9})"?\s*(?:;.*)?', re.IGNORECASE)


def matches(request: Request, tag: str) -> bool:
    """Whether the caller has the answer of this entity tag, in quotation marks.

    Compared weakly: proxies that compress make tags weak.
    """
    given = ", ".join(request.headers.getlist("if-none-match"))
    return given.strip() == "*" or tag.removeprefix("W/") in TAG.findall(given)


def unchanged(tag: str, *, cache: str) -> Response:
    """304, for those whom `matches` finds."""
    return Response(status_code=304, headers={"ETag": tag, "Cache-Control": cache})


def answered(
    request: Request, tag: str, make: Callable[[], Response], *, cache: str = FOR_EVER
) -> Response:
    """What `make` makes, under this tag; made for those alone who do not have it."""
    if matches(request, tag):
        return unchanged(tag, cache=cache)
    response = make()
    response.headers["ETag"], response.headers["Cache-Control"] = tag, cache
    return response


def wait_of(request: Request) -> int:
    """How many seconds the caller would wait for news (`Prefer: wait=N`), and we let it.

    Zero when it does not say so, or not in a form that can be read: preferences never fail.
    """
    given = ",".join(request.headers.getlist("prefer")).split(",")
    found = next((said for each in given if (said := WAIT.fullmatch(each))), None)
    return 0 if found is None else min(int(found[1]), LONGEST_WAIT)


class Tags:
    """Gives each JSON answer under `/v1` that has no entity tag its body's checksum for one, and
    those who have it already 304."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if (
            scope["type"] != "http"
            or scope["method"] != "GET"
            or not scope["path"].startswith("/v1/")
        ):
            await self.app(scope, receive, send)
            return
        held: list[Message] = []

        async def tagged(message: Message) -> None:
            if message["type"] == "http.response.start" and _lacks_tag(message):
                held.append(message)
                return
            if held:
                start = held.pop()
                if not message.get("more_body", False):
                    start, message = _tagged(Request(scope), start, message)
                await send(start)
            await send(message)

        await self.app(scope, receive, tagged)


def _lacks_tag(start: Message) -> bool:
    headers = MutableHeaders(scope=start)
    json = headers.get("content-type", "") == "application/json"
    return start["status"] == 200 and json and "etag" not in headers


def _tagged(request: Request, start: Message, body: Message) -> tuple[Message, Message]:
    tag = f'"{hashlib.sha256(body["body"]).hexdigest()[:32]}"'
    headers = MutableHeaders(scope=start)
    headers["ETag"] = tag
    headers.setdefault("Cache-Control", NO_CACHE)
    if not matches(request, tag):
        return start, body
    for name in ("content-type", "content-length"):
        del headers[name]
    return {**start, "status": 304}, {"type": "http.response.body", "body": b""}
