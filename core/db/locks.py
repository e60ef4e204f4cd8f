"""Chores that one process at a time does, where many could."""

import hashlib

from sqlalchemy import func, select
from sqlalchemy.orm import Session


def alone(session: Session, chore: str) -> bool:
    """Whether this transaction may do the chore: until it ends, nobody else is told so.

    Never waits. A holder that dies lets go with its connection.
    """
    if session.get_bind().dialect.name != "postgresql":
        return True  # SQLite has one writer at a time, and ours is that from its BEGIN
    digest = hashlib.blake2b(f"headstart:{chore}".encode(), digest_size=8).digest()
    key = int.from_bytes(digest, "big", signed=True)
    return bool(session.scalar(select(func.pg_try_advisory_xact_lock(key))))
