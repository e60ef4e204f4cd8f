"""Browsers that showed a key once: each has a cookie, of which the SHA-256 is kept."""

import hmac
from hashlib import sha256

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from core.db.clock import now
from core.db.identity_tables import BrowserSessionRow
from core.domain.identity import Identity
from core.services import api_keys

SECONDS = 12 * 3600.0


def begin(session: Session, key_id: str, seconds: float = SECONDS) -> str:
    """Log a browser in; the text for its cookie. Forgets those whose time is over."""
    session.execute(delete(BrowserSessionRow).where(BrowserSessionRow.expires_at <= now()))
    token = api_keys.random_text()
    kept = api_keys.sha256_of(token)
    row = BrowserSessionRow(token_sha256=kept, key_id=key_id, expires_at=now(seconds))
    session.add(row)
    session.flush()
    return token


def identify(session: Session, token: str) -> Identity:
    """In whose name the browser of this cookie asks: for no longer than its key is good.

    Raises Unauthenticated.
    """
    mine = BrowserSessionRow.token_sha256 == api_keys.sha256_of(token)
    wanted = select(BrowserSessionRow.key_id).where(mine, BrowserSessionRow.expires_at > now())
    key_id = session.scalar(wanted)
    if key_id is None:
        raise api_keys.unknown()
    return api_keys.standing(session, key_id)


def end(session: Session, token: str) -> None:
    """Log the browser out."""
    mine = BrowserSessionRow.token_sha256 == api_keys.sha256_of(token)
    session.execute(delete(BrowserSessionRow).where(mine))


def csrf_of(token: str) -> str:
    """What our own pages send along to prove that they are ours: who cannot read the cookie cannot
    make it, and who sees it cannot make the cookie."""
    return hmac.new(token.encode(), b"csrf", sha256).hexdigest()
