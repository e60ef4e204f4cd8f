"""Who holds a key or a cookie: asked of the database off the event loop, and kept for seconds."""

import asyncio
import hashlib
import time
from collections.abc import Callable

from fastapi.concurrency import run_in_threadpool
from sqlalchemy.orm import Session

from core.db.sessions import Sessions
from core.domain.identity import Identity
from core.errors import AppError, Unauthenticated
from core.services import api_keys

SECONDS = 5.0  # so long a revoked key may still be taken
MOST = 10_000

Look = Callable[[Session, str], Identity]  # by a key, or by a cookie


class Recogniser:
    """Remembers who was recognised by what; only a digest of that."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._known: dict[str, tuple[float, Identity]] = {}
        self._asked: dict[str, asyncio.Task[Identity]] = {}

    def knew(self, secret: str) -> bool:
        """Whether its holder was recognised before, whenever that was."""
        return _digest(secret) in self._known

    def forget(self, secret: str) -> None:
        """Ask the database the next time. From any thread."""
        self._known.pop(_digest(secret), None)

    async def identify(self, sessions: Sessions, look: Look, secret: str) -> Identity:
        """Who it is, as of at most `seconds` ago. Raises Unauthenticated, Unavailable.

        All who ask at the same moment share one look.
        """
        name = _digest(secret)
        until, identity = self._known.get(name, (0.0, None))
        if identity is not None and time.monotonic() < until:
            return identity
        if name not in self._asked:
            task = asyncio.ensure_future(self._ask(name, sessions, look, secret))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._asked[name] = task
        return await asyncio.shield(self._asked[name])

    async def _ask(self, name: str, sessions: Sessions, look: Look, secret: str) -> Identity:
        try:
            identity = await run_in_threadpool(_look, sessions, look, secret)
        except Unauthenticated:
            self._known.pop(name, None)
            raise
        finally:
            del self._asked[name]
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[name] = (time.monotonic() + self._seconds, identity)
        return identity


def _look(sessions: Sessions, look: Look, secret: str) -> Identity:
    with sessions.read() as session:
        identity = look(session, secret)
        stale = identity.key_id is not None and api_keys.unused(session, identity.key_id)
    if stale and identity.key_id is not None:
        try:
            with sessions.begin() as session:
                api_keys.touch(session, identity.key_id)
        except AppError:  # who holds a key must not wait for a database that only reads
            pass
    return identity


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
