"""What every request must pass and every response carries: host, origin, size, headers."""

from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import Problem

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
LARGEST_BODY: Final = 1024 * 1024
UPLOADS: Final = frozenset(
    {
        ("POST", "/v1/datasets"),
        ("PUT", "/v1/datasets"),
        ("POST", "/v1/datasets:statistics"),
        ("POST", "/v1/supernets:import"),
        ("POST", "/datasets"),
    }
)
PIECES: Final = "/v1/uploads/"

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

    def __init__(self, app: ASGIApp, *, respond: Respond, any_host: bool) -> None:
        self.app = app
        self.respond = respond
        self.any_host = any_host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer with the reason it may not pass."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        problem = self._objection(request)
        if problem is not None:
            await self.respond(request, problem)(scope, receive, _hardened(send))
            return
        body = receive if _is_upload(request) else _capped(receive)
        await self.app(scope, body, _hardened(send))

    def _objection(self, request: Request) -> Problem | None:
        headers = request.headers
        if "content-length" in headers and "transfer-encoding" in headers:
            # Servers and proxies do not agree on which of them counts (RFC 9112, 6.1).
            detail = "Say how long the body is, or that it comes in chunks, and not both."
            return Problem(400, "bad_request", detail, headers=(("Connection", "close"),))
        if not self.any_host and _host_name(headers.get("host", "")) not in LOOPBACK:
            detail = "This service answers to localhost only; open it as http://127.0.0.1."
            return Problem(400, "unknown_host", detail)
        if request.method not in SAFE_METHODS and not _from_own_page(headers):
            detail = "This request comes from another site's page, so it was not carried out."
            return Problem(403, "cross_site", detail)
        if _not_json(request):
            detail = "This address takes application/json."
            return Problem(415, "unsupported_media_type", detail)
        if not _is_upload(request) and _announced(headers) > LARGEST_BODY:
            detail = f"This address takes at most {LARGEST_BODY:,} bytes."
            return Problem(413, "too_large", detail)
        return None


def _is_upload(request: Request) -> bool:
    method, path = request.method, request.url.path
    return (method, path) in UPLOADS or (method == "PATCH" and path.startswith(PIECES))


def _announced(headers: Headers) -> int:
    length = headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() else 0


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
    headers = request.headers
    empty = headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers
    api = request.url.path.startswith("/v1/") and request.method not in SAFE_METHODS
    if not api or empty or _is_upload(request):
        return False
    media = headers.get("content-type", "").partition(";")[0].strip().lower()
    return media != "application/json"


def _capped(receive: Receive) -> Receive:
    """Counts the body as it arrives: Content-Length may be absent or a lie."""
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > LARGEST_BODY:
            raise HTTPException(413)
        return message

    return counted


def _hardened(send: Send) -> Callable[[Message], Awaitable[None]]:
    async def hardened(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return hardened
