"""How a browser that has logged in is known: its cookie, and the token of our own pages."""

import hmac
from contextvars import ContextVar
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode

from starlette.requests import Request
from starlette.responses import Response

from core.services import browser_sessions

PLAIN, SECURE = "headstart", "__Host-headstart"
CSRF_HEADER: Final = "x-csrf-token"
CSRF_FIELD: Final = "csrf"
LOGIN: Final = "/login"

# Of the request that is being answered, for the forms and scripts of its page.
csrf_token: ContextVar[str] = ContextVar("csrf_token", default="")


def cookie_of(request: Request) -> str | None:
    """The cookie of a browser that has logged in, where it may count.

    At the pages it always does. At the interface for programs it does for our own pages alone,
    which the browser vouches for.
    """
    interface = _is_interface(request.scope["path"])
    if interface and request.headers.get("sec-fetch-site") != "same-origin":
        return None
    return request.cookies.get(_name(request))


def proves(request: Request, cookie: str) -> bool:
    """Whether the request comes from one of our pages: it has the token, in a header or, as forms
    cannot send those, in its address."""
    given = request.headers.get(CSRF_HEADER) or request.query_params.get(CSRF_FIELD, "")
    return hmac.compare_digest(given.encode(), browser_sessions.csrf_of(cookie).encode())


def without_token(query: bytes) -> bytes:
    """A query without the token, which is none of the routes' business."""
    if CSRF_FIELD.encode() not in query:
        return query
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    return urlencode([each for each in pairs if each[0] != CSRF_FIELD]).encode()


def signed(address: str) -> str:
    """Where a form of one of our pages is sent."""
    token = csrf_token.get()
    return f"{address}?{CSRF_FIELD}={token}" if token else address


def remember(request: Request, response: Response, token: str) -> None:
    """Give the browser its cookie."""
    response.set_cookie(
        _name(request),
        token,
        max_age=int(browser_sessions.SECONDS),
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )


def forget(request: Request, response: Response) -> None:
    """Take it back."""
    secure = request.url.scheme == "https"
    response.delete_cookie(_name(request), httponly=True, samesite="lax", secure=secure)


def door(request: Request) -> str:
    """Where to log in and come back from."""
    if request.method != "GET" or request.url.path == "/":
        return LOGIN
    query = f"?{request.url.query}" if request.url.query else ""
    return f"{LOGIN}?next={quote(request.url.path + query, safe='/')}"


def local(address: str) -> str:
    """An address to go on to, if it is one of this service's; else the front page."""
    fine = address.startswith("/") and not address.startswith(("//", "/\\"))
    return address if fine and address.isprintable() else "/"


def _name(request: Request) -> str:
    return SECURE if request.url.scheme == "https" else PLAIN


def _is_interface(path: str) -> bool:
    return path.startswith(("/v1/", "/v2/", "/metrics"))
