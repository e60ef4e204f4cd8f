"""What every request must pass and every response carries: host, origin, size, headers."""

import math
import re
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import methods
from api.problems import Problem
from core.storage.addresses import is_loopback

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
LARGEST_BODY: Final = 1024 * 1024
# Of JSON, a list or an object counting for ten: nobody else is answered while one is read, and a
# megabyte of brackets takes seconds.
MOST_PARTS: Final = 100_000
UPLOADS: Final = frozenset(
    {
        ("POST", "/v1/datasets"),
        ("PUT", "/v1/datasets"),
        ("POST", "/v1/datasets:statistics"),
        ("POST", "/v1/supernets:import"),
        ("POST", "/datasets"),
        ("POST", "/registry/import"),
    }
)
PIECES: Final = "/v1/uploads/"
# Whose bodies are tensors and images: in types of their own, and larger than requests are.
INFERENCE: Final = re.compile(r"/v2/models/[^/]+/infer|/v1/models/[^/]+:predict")

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

Respond = Callable[[Request, Problem], Response]


class Guard:
    """Refuses foreign hosts, foreign pages and oversized bodies before any route runs."""

    def __init__(
        self, app: ASGIApp, *, respond: Respond, any_host: bool, inference_bytes: int
    ) -> None:
        self.app = app
        self.respond = respond
        self.any_host = any_host
        self.inference_bytes = inference_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer with the reason it may not pass."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        problem = self._objection(request)
        if problem is not None:
            await self.respond(request, problem)(scope, receive, hardened(send))
            return
        if not _is_upload(request):
            inference = is_inference(request.method, scope["path"])
            parts = math.inf if inference else MOST_PARTS  # tensors are read beside the loop
            receive = _capped(receive, self._largest(request), parts)
        await self.app(scope, receive, hardened(send))

    def _objection(self, request: Request) -> Problem | None:
        headers = request.headers
        if "content-length" in headers and "transfer-encoding" in headers:
            # Servers and proxies do not agree on which of them counts (RFC 9112, 6.1).
            detail = "Say how long the body is, or that it comes in chunks, and not both."
            return Problem(400, "bad_request", detail, headers=(("Connection", "close"),))
        if not self.any_host and not _came_here(request.scope.get("server")):
            detail = (
                "This service asks nobody for a key, so it answers on loopback addresses alone: "
                "its operator sets HEADSTART_AUTH=keys."
            )
            return Problem(400, "unknown_host", detail)
        if not self.any_host and _host_name(headers.get("host", "")) not in LOOPBACK:
            detail = "This service answers to localhost only; open it as http://127.0.0.1."
            return Problem(400, "unknown_host", detail)
        if request.method not in SAFE_METHODS and not _from_own_page(headers):
            detail = "This request comes from another site's page, so it was not carried out."
            return Problem(403, "cross_site", detail)
        if _not_json(request) and request.method in methods.allowed(request.scope):
            detail = "This address takes application/json."
            return Problem(415, "unsupported_media_type", detail)
        largest = self._largest(request)
        if not _is_upload(request) and (announced(headers) or 0) > largest:
            detail = f"This address takes at most {largest:,} bytes."
            return Problem(413, "too_large", detail)
        return None

    def _largest(self, request: Request) -> int:
        inference = is_inference(request.method, request.scope["path"])
        return self.inference_bytes if inference else LARGEST_BODY


def is_inference(method: str, path: str) -> bool:
    """Whether a model is asked for its answer."""
    return method == "POST" and INFERENCE.fullmatch(path) is not None


def _is_upload(request: Request) -> bool:
    method, path = request.method, request.scope["path"]
    return (method, path) in UPLOADS or (method == "PATCH" and path.startswith(PIECES))


def announced(headers: Headers) -> int | None:
    """The bytes that the body is said to have, where they are said."""
    length = headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() else None


def _came_here(server: tuple[str, int | None] | None) -> bool:
    """Whether a request came to a loopback address or a socket in a folder: its Host header is
    whatever the caller wants. For servers that were told by others where to listen."""
    if server is None or server[1] is None:
        return True
    try:
        return is_loopback(ip_address(server[0]))
    except ValueError:
        return False


def _host_name(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0].lower()


def _from_own_page(headers: Headers) -> bool:
    """Whether no browser says otherwise. Browsers set Sec-Fetch-Site themselves, pages cannot;
    `same-site` is another port of this host, so it is foreign too."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in {"same-origin", "none"}
    origin = headers.get("origin")
    return origin is None or _place_of(origin) == headers.get("host")


def _place_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:  # not an address, so not ours
        return None


def _not_json(request: Request) -> bool:
    headers, path = request.headers, request.scope["path"]
    empty = headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers
    api = path.startswith("/v1/") and request.method not in SAFE_METHODS
    if not api or empty or _is_upload(request) or is_inference(request.method, path):
        return False
    media = headers.get("content-type", "").partition(";")[0].strip().lower()
    return media != "application/json"


def _capped(receive: Receive, largest: int, most_parts: float) -> Receive:
    """Counts the body as it arrives: Content-Length may be absent or a lie."""
    seen = commas = brackets = 0

    async def counted() -> Message:
        nonlocal seen, commas, brackets
        message = await receive()
        chunk = message.get("body", b"")
        seen += len(chunk)
        commas += chunk.count(b",")
        brackets += chunk.count(b"[") + chunk.count(b"{")
        # Without a comma they are nested, which ends soon.
        if seen > largest or (commas and commas + 10 * brackets > most_parts):
            raise HTTPException(413)
        return message

    return counted


def hardened(send: Send) -> Callable[[Message], Awaitable[None]]:
    """Puts the headers on that every answer carries."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sending
