"""Waiting for news of jobs: however many wait, one thread looks for all of them."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from fastapi import Request
from sqlalchemy.orm import Session

from core.db.sessions import Sessions
from core.domain.identity import ProjectId
from core.domain.jobs import JobId
from core.errors import AppError
from core.services import news

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    job_id: JobId
    version: str
    changed: "asyncio.Future[bool]"


class Watcher:
    """Looks every `seconds` at the jobs that somebody waits for, in one statement or, with groups
    among them, two; at nothing while nobody waits. At most `most` may wait.

    One per process: it has a `thread` of its own, so none of those that answer requests is kept,
    and uses one connection at a time; polls are read in it too. To be called from one event loop.
    """

    def __init__(self, sessions: Sessions, *, seconds: float = 0.5, most: int = 1_000) -> None:
        self._sessions = sessions
        self._seconds = seconds
        self._most = most
        self._admitted = 0
        self._waiters: set[_Waiter] = set()
        self._queued: dict[Hashable, asyncio.Task[Any]] = {}
        self._turn = asyncio.Lock()
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="watcher")
        self._looking: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._leaving = False

    @property
    def leaving(self) -> bool:
        """Whether waiting is over for everybody."""
        return self._leaving

    @property
    def full(self) -> bool:
        """Whether nobody else can be let in."""
        return self._leaving or self._admitted >= self._most

    @property
    def admitted(self) -> int:
        """How many have been let in and are not out yet."""
        return self._admitted

    @contextmanager
    def place(self) -> Iterator[None]:
        """Held by each who waits, for as long as it may wait again."""
        self._admitted += 1
        try:
            yield
        finally:
            self._admitted -= 1

    async def read(self, look: Callable[[Session], T], *, project: ProjectId, name: Hashable) -> T:
        """What `look` finds of the project's, in the watcher's own thread, one after the other.

        Who wants to look for the same, by name, while that waits for its turn, shares it: what
        hundreds wait for is read once or twice, and by all after it happened.
        """
        return await self._shared(look, self._sessions.within(project), (project, name))

    async def _shared(self, look: Callable[[Session], T], sessions: Sessions, name: Hashable) -> T:
        if name not in self._queued:
            self._queued[name] = asyncio.ensure_future(self._read(look, sessions, name))
        found: T = await asyncio.shield(self._queued[name])
        return found

    async def _read(self, look: Callable[[Session], T], sessions: Sessions, name: Hashable) -> T:
        def reading() -> T:
            with sessions.read() as session:
                return look(session)

        async with self._turn:
            del self._queued[name]  # whoever comes from here on may know of something later
            return await asyncio.get_running_loop().run_in_executor(self.thread, reading)

    async def changed(self, job_id: JobId, version: str, *, patience: float) -> bool:
        """Wait until the job has another version than this, for `patience` seconds at most.

        For those who have seen the job: it is looked for in all projects. False when it has not,
        or `leave` was called. Raises Unavailable.
        """
        if self._leaving:
            return False
        self._loop = asyncio.get_running_loop()
        waiter = _Waiter(job_id, version, self._loop.create_future())
        self._waiters.add(waiter)
        if self._looking is None or self._looking.done():
            self._looking = self._loop.create_task(self._look())
        try:
            return await asyncio.wait_for(waiter.changed, patience)
        except TimeoutError:
            return False
        finally:
            self._waiters.discard(waiter)

    def leave(self) -> None:
        """Let nobody wait any longer. From any thread, or a signal handler."""
        self._leaving = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._release)

    def _release(self) -> None:
        for waiter in self._waiters:
            _tell(waiter, False)

    async def _look(self) -> None:
        while self._waiters:
            await asyncio.sleep(self._seconds)
            waiting = tuple(self._waiters)
            ids = {waiter.job_id for waiter in waiting}
            try:
                look = partial(news.versions, ids=ids)
                found = await self._shared(look, self._sessions, self)
            except AppError as error:
                for waiter in waiting:
                    if not waiter.changed.done():
                        waiter.changed.set_exception(error)
                continue
            for waiter in waiting:
                if found.get(waiter.job_id) != waiter.version:
                    _tell(waiter, True)
            if self._leaving:
                self._release()


def _tell(waiter: _Waiter, changed: bool) -> None:
    if not waiter.changed.done():
        waiter.changed.set_result(changed)


async def while_heard(request: Request, waiting: Coroutine[Any, Any, bool]) -> bool:
    """What comes of waiting; False as soon as the caller has gone away."""
    waits = asyncio.ensure_future(waiting)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({waits, gone}, return_when=asyncio.FIRST_COMPLETED)
        if gone.done():
            gone.result()  # a body that is too large, say
        return waits.done() and waits.result()
    finally:
        for task in (waits, gone):
            task.cancel()
        await asyncio.gather(waits, gone, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
