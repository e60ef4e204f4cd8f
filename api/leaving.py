"""How the service leaves: the deployed one says so first, and goes on answering until that was
heard. A balancer sends requests for as long as it has not asked again whether it is ready.
"""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import security

SECONDS = 5.0  # between the word and the end; a second SIGTERM, or SIGINT, ends it at once


class Farewell:
    """Once `leaving` is set, nothing is ready any more and every answer closes its connection.

    A connection kept open would be cut while the next request is on its way.
    """

    def __init__(self, app: ASGIApp, *, leaving: threading.Event) -> None:
        self.app = app
        self.leaving = leaving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http" or not self.leaving.is_set():
            await self.app(scope, receive, send)
            return
        app = _not_ready() if scope["path"] == "/readyz" else self.app
        await app(scope, receive, _closing(send))


@contextmanager
def announced(
    leaving: threading.Event, *, tell: Callable[[], None], seconds: float = SECONDS
) -> Iterator[None]:
    """While the loop runs, the server hears of the first SIGTERM `seconds` after `leaving` is set.

    `tell` is called at once, by SIGINT too: what would be answered only later is answered then.
    Where nobody has asked for the signals, or in another thread than the first, nothing changes.
    """
    ends = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    main = threading.current_thread() is threading.main_thread()
    if not main or not all(map(callable, ends.values())):
        yield
        return
    loop = asyncio.get_running_loop()

    def leave(number: int, frame: FrameType | None) -> None:
        at_once = leaving.is_set() or number == signal.SIGINT or seconds == 0
        end: Any = ends[signal.Signals(number)]
        leaving.set()
        tell()
        if at_once:
            end(number, frame)
        else:
            loop.call_soon_threadsafe(loop.call_later, seconds, end, number, None)

    for number in ends:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number, end in ends.items():
            signal.signal(number, end)


def _not_ready() -> JSONResponse:
    headers = {**security.HEADERS, "Retry-After": "5"}
    return JSONResponse({"status": "leaving", "checks": {}}, 503, headers=headers)


def _closing(send: Send) -> Send:
    async def pass_on(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message)["Connection"] = "close"
        await send(message)

    return pass_on
