"""Requests that stay, inside an application's own loop and without sockets."""

import asyncio
from typing import Any

from fastapi import FastAPI


class Caller:
    """One of them: what it was answered so far; it goes away when it is `gone`."""

    def __init__(self, app: FastAPI, path: str, *headers: tuple[bytes, bytes], wait: int) -> None:
        self.gone = asyncio.Event()
        self.status = 0
        self.said = b""
        prefer = (b"prefer", f"wait={wait}".encode())
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"localhost"), prefer, *headers],
        }
        self.ended = asyncio.ensure_future(app(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        self.status = message.get("status", self.status)
        self.said += message.get("body", b"")
