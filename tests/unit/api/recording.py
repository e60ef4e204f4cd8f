"""Whatever the service answers in a test is an answer that its OpenAPI document names."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import security
from api.codes import CODES
from api.problems import MEDIA_TYPE
from api.views.problems import ProblemView

# Of every answer, so that no operation has to name them.
USUAL = {"content-length", "content-type", "connection", "date", "server", "transfer-encoding"}
USUAL |= {"x-request-id"} | {name.lower() for name in security.HEADERS}
Json = dict[str, Any]


@dataclass
class Recorder:
    """Stands before an application, and keeps what contradicts its document."""

    app: ASGIApp
    described: FastAPI
    found: list[str] = field(default_factory=list)
    answers: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        start: Message = {}
        body = bytearray()

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            elif message["type"] == "http.response.body":
                if start["status"] >= 400:
                    body.extend(message.get("body", b""))
                if not message.get("more_body", False):  # before the test can know of it
                    self._note(scope, start, bytes(body))
            await send(message)

        await self.app(scope, receive, noted)

    def _note(self, scope: Scope, start: Message, body: bytes) -> None:
        operation = self._operation(scope)
        if operation is None:
            return
        self.answers += 1
        told = contradictions(operation, start["status"], Headers(raw=start["headers"]), body)
        self.found += [f"{operation['operationId']} {start['status']}: {each}" for each in told]

    def _operation(self, scope: Scope) -> Json | None:
        route = scope.get("route")
        if scope["type"] != "http" or not isinstance(route, APIRoute):
            return None
        paths = self.described.openapi()["paths"]
        operation: Json | None = paths.get(route.path_format, {}).get(scope["method"].lower())
        return operation


def contradictions(operation: Json, status: int, headers: Headers, body: bytes) -> Iterator[str]:
    """What of an answer the operation does not name."""
    answer = operation["responses"].get(str(status))
    if answer is None:
        yield f"is no answer of it {body.decode(errors='replace')[:200]}"
        return
    media = headers.get("content-type", "").partition(";")[0]
    content = answer.get("content", {})
    if media and media not in content:
        yield f"comes as {media}"
    if status < 400:
        named = {name.lower() for name in answer.get("headers", {})}
        yield from (f"has {each}" for each in headers if each not in USUAL | named)
    elif media == MEDIA_TYPE and body:
        yield from _of_problem(status, json.loads(body), content.get(media, {}), answer, headers)


def _of_problem(
    status: int, body: Json, content: Json, answer: Json, headers: Headers
) -> Iterator[str]:
    if ProblemView.model_validate(body).model_dump(exclude_unset=True) != body:
        yield f"is no problem as documented: {body}"
    code = body["code"]
    if code not in CODES or CODES[code].status != status:
        yield f"has the code {code}, which the catalogue does not have so"
    if code not in content.get("examples", {}):
        yield f"has the code {code}"
    if "retry-after" in headers and "Retry-After" not in answer.get("headers", {}):
        yield f"has Retry-After for {code}"
