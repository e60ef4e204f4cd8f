"""Chores that one process at a time does, where many could; and waiting for others, not long."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import func, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

LOCK_NOT_AVAILABLE = "55P03"


def alone(session: Session, chore: str) -> bool:
    """Whether this transaction may do the chore: until it ends, nobody else is told so.

    Never waits. A holder that dies lets go with its connection.
    """
    if session.get_bind().dialect.name != "postgresql":
        return True  # SQLite has one writer at a time, and ours is that from its BEGIN
    return bool(session.scalar(select(func.pg_try_advisory_xact_lock(_key(chore)))))


def in_turn(session: Session, chore: str) -> None:
    """Wait until no other transaction is at the chore: until ours ends, none will be."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(_key(chore))))


def _key(chore: str) -> int:
    digest = hashlib.blake2b(f"headstart:{chore}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


class Held(Exception):
    """Somebody else had a lock for longer than there was patience for."""


@contextmanager
def patience(session: Session, seconds: float) -> Iterator[None]:
    """Wait that long for another's locks within the block. Raises Held; roll back then.

    SQLite knows no such wait: who writes has had the one lock since its BEGIN.
    """
    postgresql = session.get_bind().dialect.name == "postgresql"
    if postgresql:
        session.execute(text(f"SET LOCAL lock_timeout = {round(1000 * seconds)}"))
    try:
        yield
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) == LOCK_NOT_AVAILABLE:
            raise Held from error
        raise
    if postgresql:
        session.execute(text("SET LOCAL lock_timeout = DEFAULT"))
