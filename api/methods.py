"""What holds of methods at every address: HEAD is GET without the body, OPTIONS says which."""

from collections.abc import Iterator

from fastapi.routing import RouteContext, iter_route_contexts
from starlette.routing import Match, Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

STREAM = "text/event-stream"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class _Enough(Exception):
    """The head is out; nobody wants the rest."""


class Heads:
    """Has GET answer what HEAD asks, where no route does; without waiting for news (`Prefer`)."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http" or scope["method"] != "HEAD" or not _by_get(scope):
            await self.app(scope, receive, send)
            return
        headers = [each for each in scope["headers"] if each[0] != b"prefer"]
        asked = {**scope, "method": "GET", "headers": headers}

        async def head(message: Message) -> None:
            if message["type"] == "http.response.body":
                await send({"type": "http.response.body", "body": b""})
                if message.get("more_body", False):
                    raise _Enough
            else:
                await send(message)

        try:
            await self.app(asked, receive, head)
        except _Enough:
            pass
        finally:  # whoever counts requests looks there which route it was
            scope.update({**asked, "method": "HEAD", "headers": scope["headers"]})


def allowed(scope: Scope) -> list[str]:
    """The methods that this address takes; none where there is nothing."""
    taken = {method for method in METHODS if _route(scope, method) is not None}
    if not taken:
        return []
    taken |= {"OPTIONS"} | ({"HEAD"} if _by_get(scope) else set())
    return [method for method in METHODS if method in taken]


def _by_get(scope: Scope) -> bool:
    """Whether HEAD is answered by the route of GET; one that streams would have no end."""
    route = None if _route(scope, "HEAD") else _route(scope, "GET")
    return route is not None and _media_type(route) != STREAM


def _media_type(route: RouteContext) -> str | None:
    return getattr(getattr(route, "response_class", None), "media_type", None)


def _route(scope: Scope, method: str) -> RouteContext | None:
    # Inside a folder of files the address is told from there.
    root = scope.get("app_root_path", scope.get("root_path", ""))
    asked = {**scope, "method": method, "root_path": root}
    return next((each for each in _routes(scope) if _takes(each, method, asked)), None)


def _takes(route: RouteContext, method: str, scope: Scope) -> bool:
    if isinstance(route.original_route, Mount) and method not in {"GET", "HEAD"}:
        return False  # of files, though it lets every method in
    return bool(route.matches(scope)[0] is Match.FULL)


def _routes(scope: Scope) -> Iterator[RouteContext]:
    return iter_route_contexts(scope["app"].routes)
