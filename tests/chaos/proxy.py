"""A TCP proxy that misbehaves on demand: put it between a process and its database or broker.

    with proxied(("127.0.0.1", 5432)) as proxy:
        connect_to("127.0.0.1", proxy.port)
        proxy.black_hole()
        proxy.forward()

It runs on an event loop in a thread of its own. Every method returns once it is in force, for the
connections there are and for those to come.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from enum import Enum
from threading import Thread
from typing import Any

PIECE_BYTES = 64 * 1024
ANSWER_SECONDS = 10.0  # how long the proxy's own thread may take to obey
RESET_ON_CLOSE = struct.pack("ii", 1, 0)

Address = tuple[str, int]


class Way(Enum):
    """Which way bytes go, seen from the client."""

    SENT = "sent"
    RECEIVED = "received"


@dataclass(frozen=True, slots=True)
class Faults:
    """What happens to bytes; by default nothing."""

    delay: float = 0.0
    silent: bool = False
    refuse: bool = False
    cut_after: tuple[Way, int] | None = None
    cut_at: tuple[bytes, bytes] | None = None  # after which words, and at which
    once: bool = False


class Cut(Exception):
    """This connection ends here."""


class Proxy:
    """The proxy while it runs; made by `proxied`."""

    def __init__(self, target: Address) -> None:
        self.port = 0
        self.cuts = 0  # connections ended by `cut_after` or `cut_at`
        self.target = target
        self.faults = Faults()
        self.passable = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._links: dict[asyncio.Task[None], _Link] = {}
        self._server: asyncio.Server | None = None

    @property
    def connections(self) -> int:
        """How many there are now."""
        return len(self._links)

    def forward(self) -> None:
        """Pass everything on again; what the silence held back arrives now."""
        self._obey(self._set(Faults()))

    def delay(self, seconds: float) -> None:
        """Pass each piece (64 KiB at most) on that much later, each way."""
        self._obey(self._set(Faults(delay=seconds)))

    def black_hole(self) -> None:
        """Take connections and bytes and pass nothing on: a network that lost its other half."""
        self._obey(self._set(Faults(silent=True)))

    def refuse(self) -> None:
        """Reset every connection, new ones as soon as they are made: a server that is down."""
        self._obey(self._refuse())

    def reset(self) -> None:
        """End the connections there are, by RST to both ends."""
        self._obey(self._reset())

    def cut_after(self, way: Way, size: int) -> None:
        """Let `size` bytes from now on pass that way on each connection, then end it."""
        self._obey(self._set(Faults(cut_after=(way, size))))

    def cut_at(self, words: bytes, *, after: bytes = b"", once: bool = False) -> None:
        """Let the client say `words` and the server answer, but end the connection on the answer.

        `cut_at(b"COMMIT")` makes a commit whose outcome the client cannot know. With `after` only
        where the client said that since the last `words`; with `once` on one connection.
        """
        self._obey(self._set(Faults(cut_at=(after, words), once=once)))

    def _obey(self, order: Coroutine[Any, Any, None]) -> None:
        done: Future[None] = asyncio.run_coroutine_threadsafe(order, self._loop)
        done.result(ANSWER_SECONDS)

    async def _set(self, faults: Faults) -> None:
        self.faults = faults
        for link in self._links.values():
            link.count_anew()
        (self.passable.clear if faults.silent else self.passable.set)()

    async def _refuse(self) -> None:
        self.faults = Faults(refuse=True)
        await self._reset()  # what a silence held back is lost: it must not pass on now
        self.passable.set()

    async def _reset(self) -> None:
        tasks = tuple(self._links)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _start(self) -> None:
        self.passable.set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        assert self._server is not None
        self._server.close()
        await asyncio.sleep(0)  # what was accepted already becomes a task first
        await self._reset()
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(self, reader, writer)
        task = asyncio.current_task()
        assert task is not None
        self._links[task] = link
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await link.run()
        finally:
            del self._links[task]


class _Link:
    """One client's connection and the one made to the target for it."""

    def __init__(
        self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._proxy = proxy
        self._client = reader, writer
        self._writers = [writer]
        self._passed = dict.fromkeys(Way, 0)
        self._heard = b""
        self._armed = self._deaf = False

    def count_anew(self) -> None:
        """Forget what has passed so far."""
        self._passed = dict.fromkeys(Way, 0)
        self._heard, self._armed, self._deaf = b"", False, False

    async def run(self) -> None:
        """Carry bytes until both ends are done or somebody cuts."""
        try:
            await self._carry()
        except* (OSError, Cut):
            pass  # both ends are told below
        finally:
            for writer in self._writers:
                if not writer.is_closing():
                    _reset_on_close(writer)
                writer.transport.abort()

    async def _carry(self) -> None:
        if self._proxy.faults.refuse:
            raise Cut
        await self._proxy.passable.wait()
        server = await asyncio.open_connection(*self._proxy.target)
        self._writers.append(server[1])
        async with asyncio.TaskGroup() as pumps:
            pumps.create_task(self._pump(Way.SENT, self._client[0], server[1]))
            pumps.create_task(self._pump(Way.RECEIVED, server[0], self._client[1]))
        for writer in self._writers:
            await _finish(writer)

    async def _pump(
        self, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.transport.set_write_buffer_limits(0)  # draining then means: the kernel has it
        while data := await reader.read(PIECE_BYTES):
            await asyncio.sleep(self._proxy.faults.delay)
            await self._proxy.passable.wait()
            passing = self._passing(way, data)
            if passing:
                writer.write(passing)
                await writer.drain()
            if len(passing) < len(data) or self._spent(way):
                self._proxy.cuts += 1
                await _finish(writer)  # it gets what was let pass, to the last byte
                raise Cut
        await self._proxy.passable.wait()
        writer.write_eof()

    def _passing(self, way: Way, data: bytes) -> bytes:
        """The part of the data that may go on."""
        faults = self._proxy.faults
        if way is Way.RECEIVED and self._deaf:
            return b""
        if way is Way.SENT and faults.cut_at is not None:
            self._listen(data, *faults.cut_at)
        if faults.cut_after is not None and faults.cut_after[0] is way:
            data = data[: faults.cut_after[1] - self._passed[way]]
        self._passed[way] += len(data)
        return data

    def _listen(self, data: bytes, after: bytes, words: bytes) -> None:
        """Turn deaf when the client has said both."""
        self._heard += data
        while (end := self._heard.find(words)) >= 0 and not self._deaf:
            self._deaf = self._armed or after in self._heard[:end]
            self._armed, self._heard = False, self._heard[end + len(words) :]
            if self._deaf and self._proxy.faults.once:
                self._proxy.faults = Faults()
        self._armed = self._armed or after in self._heard
        self._heard = self._heard[-max(len(after), len(words)) :]  # they may come in pieces

    def _spent(self, way: Way) -> bool:
        limit = self._proxy.faults.cut_after
        return limit is not None and limit[0] is way and self._passed[way] >= limit[1]


@contextlib.contextmanager
def proxied(target: Address) -> Iterator[Proxy]:
    """A proxy to `target` on a loopback port; leaving ends its connections and its thread."""
    proxy = Proxy(target)
    thread = Thread(target=proxy._loop.run_forever, name="fault-proxy", daemon=True)
    thread.start()
    try:
        proxy._obey(proxy._start())
        try:
            yield proxy
        finally:
            proxy._obey(proxy._stop())
    finally:
        proxy._loop.call_soon_threadsafe(proxy._loop.stop)
        thread.join(ANSWER_SECONDS)
        proxy._loop.close()


async def _finish(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        writer.close()
        await writer.wait_closed()


def _reset_on_close(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        end: socket.socket = writer.get_extra_info("socket")
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
