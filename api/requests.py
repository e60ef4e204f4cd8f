"""Each request under one id: in every line logged for it, in its answer, in its problem.

Outermost of all, so that it sees answers to refused requests and to bugs too. Of each request it
counts one, and where logs are for programs it writes one line.
"""

import logging
import re
import time
from collections.abc import Iterable
from typing import Final
from uuid import uuid4

import structlog
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import metrics, security
from core import tracing
from core.domain.identity import NOBODY, Identity

HEADER: Final = b"x-request-id"
# What cannot be mistaken for anything but a name, wherever it is shown.
SAFE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
STREAMS: Final = frozenset({"jobs_stream"})
GONE: Final = 499  # the caller went away before there was an answer
SHOWN: Final = 200  # characters of a path

log = structlog.stdlib.get_logger(__name__)


class Requests:
    """Stands before the whole application; `lines` says whether each request is logged."""

    def __init__(self, app: ASGIApp, *, lines: bool) -> None:
        self.app = app
        self.lines = lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on. What nobody has caught is logged, and ends here."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        seen = _Seen(scope, receive, send)
        with structlog.contextvars.bound_contextvars(request_id=seen.id):
            try:
                await self.app(scope, seen.receive, seen.send)
            except ClientDisconnect:
                seen.status = GONE
            except Exception:  # answered by now, if it could be
                log.exception("request_failed", operation=operation_of(scope))
            finally:
                seen.count()
                if self.lines:
                    seen.tell()


class _Seen:
    """What passes of one request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._began = time.perf_counter()
        self._upload = is_upload(scope["method"], scope["path"])
        self.id = id_of(scope["headers"])
        self.header = (HEADER, self.id.encode())
        self.status = GONE
        self.sent = self.received = 0
        self.whole = False
        self._span = tracing.current()  # the framework's
        self._span.say({"headstart.request.id": self.id})
        if scope.get("query_string"):
            self._span.say({"url.query": "REDACTED"})  # names and labels may be in there

    async def receive(self) -> Message:
        message = await self._receive()
        self.received += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._say()
            message = {**message, "headers": [*message.get("headers", ()), self.header]}
        elif message["type"] == "http.response.body":
            self.sent += len(message.get("body", b""))
            self.whole = not message.get("more_body", False)
        await self._send(message)

    def _say(self) -> None:
        who_asks = who(self._scope)
        project = {"headstart.project.id": who_asks["project"]} if who_asks else {}
        self._span.say({"headstart.operation": operation_of(self._scope), **project})

    def count(self) -> None:
        operation, method = operation_of(self._scope), self._scope["method"]
        method = method if method in METHODS else "other"
        metrics.REQUESTS.labels(operation, method, str(self.status)).inc()
        if operation not in STREAMS and not _waits(self._scope["headers"]):
            metrics.SECONDS.labels(operation).observe(time.perf_counter() - self._began)
        if self._upload:
            metrics.UPLOADED.inc(self.received)

    def tell(self) -> None:
        more = {"received": self.received} if self.received else {}
        log.info(
            "request",
            operation=operation_of(self._scope),
            method=self._scope["method"][:20],
            path=self._scope["path"][:SHOWN],
            status=self.status,
            ms=round((time.perf_counter() - self._began) * 1000, 1),
            bytes=self.sent,
            **more,
            **who(self._scope),
            **({} if self.whole else {"cut": True}),
        )


def id_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The id that a caller gave its request, if it is one and safe to repeat; else a new one."""
    given = [value.decode("latin-1") for name, value in headers if name == HEADER]
    if len(given) == 1 and SAFE.fullmatch(given[0]):
        return given[0]
    return uuid4().hex


def operation_of(scope: Scope) -> str:
    """The route's operation id; of a page, its function. Known once the request is answered."""
    route, endpoint = scope.get("route"), scope.get("endpoint")
    if endpoint is None:
        return "none"
    if not isinstance(route, APIRoute):  # a folder, or the framework's own
        return getattr(endpoint, "__name__", type(endpoint).__name__.lower())
    if route.operation_id:
        return route.operation_id
    module = route.endpoint.__module__.rpartition(".")[2]
    return f"{module}.{route.name}"


def who(scope: Scope) -> dict[str, str]:
    """Project and key of a request, for the log; never anything secret."""
    identity: Identity = scope.get("state", {}).get("identity", NOBODY)
    if identity.key_id is None:
        return {}
    return {"project": str(identity.project_id), "key": identity.key_id}


def is_upload(method: str, path: str) -> bool:
    """Whether the body is a file, or a piece of one."""
    return (method, path) in security.UPLOADS or (
        method == "PATCH" and path.startswith(security.PIECES)
    )


def take_over_logs() -> None:
    """Let the server's own lines go where ours go, but none for each request: ours says more."""
    for name, heard in (("uvicorn", True), ("uvicorn.error", True), ("uvicorn.access", False)):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = heard


def _waits(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    return any(name == b"prefer" for name, _ in headers)
