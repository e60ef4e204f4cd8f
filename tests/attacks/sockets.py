"""Requests byte by byte, as no client library would send them."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
from collections.abc import Iterator
from urllib.parse import urlsplit

from tests.attacks.doors import Answer
from tests.attacks.scene import Scene

PATIENCE = 20.0
GONE = Answer(0, "")  # there is nobody left to be answered


@contextlib.contextmanager
def connected(scene: Scene) -> Iterator[socket.socket]:
    """A connection to the service."""
    place = urlsplit(scene.server.url)
    assert place.hostname is not None
    assert place.port is not None
    with contextlib.closing(
        socket.create_connection((place.hostname, place.port), PATIENCE)
    ) as connection:
        yield connection


def head(scene: Scene, method: str, path: str, *lines: str) -> bytes:
    """The lines before a body."""
    place = urlsplit(scene.server.url).netloc
    return "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {place}", *lines, "", ""]).encode()


def exchanged(scene: Scene, data: bytes, *, shut: bool = False) -> Answer:
    """The first answer to these bytes; with `shut`, nothing more can come of this side."""
    with connected(scene) as connection:
        with contextlib.suppress(OSError):  # refused while more was on its way
            connection.sendall(data)
            if shut:
                connection.shutdown(socket.SHUT_WR)
        return answered(connection)


def answered(connection: socket.socket) -> Answer:
    """The answer that comes, `GONE` if none does."""
    received = b""
    with contextlib.suppress(OSError):
        while chunk := connection.recv(65_536):
            received += chunk
            if whole := _read(received):
                return whole
    return _read(received, ended=True) or GONE


def reset(connection: socket.socket) -> None:
    """Break it off: what is still on its way is lost with it."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _read(received: bytes, *, ended: bool = False) -> Answer | None:
    start, found, body = received.partition(b"\r\n\r\n")
    if not found:
        return None
    lines = start.decode("latin-1").split("\r\n")
    status = int(lines[0].split()[1])
    told = dict(line.lower().split(": ", 1) for line in lines[1:])
    length = int(told.get("content-length", 0))
    if len(body) < length and not ended:
        return None
    try:
        return Answer(status, json.loads(body[:length])["code"])
    except (ValueError, KeyError, TypeError):
        return Answer(status, "")  # of the server that carries the service
