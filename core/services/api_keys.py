"""API keys: made, shown once, recognised, revoked.

A key is `hs_ID_SECRET_CHECK`. The id finds its row; of the secret, 32 random bytes, the row has
the SHA-256, which nobody can guess back. The check is a CRC-32 of all before it, so that a typing
error, or what a scanner finds in a repository, is told from a key without asking the database.
"""

import hashlib
import hmac
import re
import secrets
import string
import zlib
from typing import Final

from sqlalchemy import ColumnElement, or_, select, update
from sqlalchemy.orm import Session

from core.db.clock import now
from core.db.identity_tables import ApiKeyRow
from core.domain.identity import PUBLIC, ApiKey, Identity, ProjectId, Scope
from core.errors import InvalidInput, NotFound, Unauthenticated
from core.services import paging

ALPHABET: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
ID_LENGTH, CHECK_LENGTH = 8, 6
SECRET_BYTES, SECRET_LENGTH = 32, 43
SHAPE: Final = re.compile(r"hs_([0-9A-Za-z]{8})_([0-9A-Za-z]{43})_([0-9A-Za-z]{6})")
USED_SECONDS = 60.0  # how precisely it is kept when a key was last used


def create(
    session: Session,
    project_id: ProjectId,
    *,
    name: str,
    scope: Scope,
    expires_in: float | None = None,
) -> tuple[ApiKey, str]:
    """A new key, and its text, which nothing can tell again. It lasts `expires_in` seconds.

    Raises InvalidInput for the public project, in whose name nobody acts.
    """
    if project_id == PUBLIC:
        raise InvalidInput("The public project is read by all and has no keys: name another.")
    key_id, secret, text = _minted()
    row = ApiKeyRow(
        id=key_id,
        project_id=project_id,
        name=name,
        secret_sha256=sha256_of(secret),
        scope=scope,
        expires_at=None if expires_in is None else now(expires_in),
    )
    session.add(row)
    session.flush()
    session.refresh(row)
    return row.to_domain(), text


def listing(
    session: Session,
    *,
    project_id: ProjectId | None,
    limit: int,
    after: str | None = None,
    order: paging.Order = "newest",
) -> tuple[tuple[ApiKey, ...], str | None]:
    """A page of a project's keys, or of all, revoked and expired ones too, and the token of the
    next. Raises InvalidInput."""
    wanted = select(ApiKeyRow)
    if project_id is not None:
        wanted = wanted.where(ApiKeyRow.project_id == project_id)
    by = (ApiKeyRow.created_at, ApiKeyRow.id)
    rows, token = paging.page(session, wanted, by=by, limit=limit, after=after, order=order)
    return tuple(row[0].to_domain() for row in rows), token


def revoke(session: Session, key_id: str, project_id: ProjectId | None = None) -> ApiKey:
    """End a key, of this project if one is named; one that has ended stays as it is.

    Raises NotFound.
    """
    # PostgreSQL would not even look for what has a NUL in it.
    row = session.get(ApiKeyRow, key_id, with_for_update=True) if key_id.isalnum() else None
    if row is None or project_id not in {None, row.project_id}:
        raise NotFound(f"There is no key {key_id}.")
    if row.revoked_at is None:
        session.execute(
            update(ApiKeyRow).where(ApiKeyRow.id == key_id).values(revoked_at=now()),
            execution_options={"synchronize_session": False},
        )
        session.refresh(row)
    return row.to_domain()


def identify(session: Session, text: str) -> Identity:
    """In whose name the holder of this key asks.

    Raises Unauthenticated: `key_revoked` and `key_expired` to those who know the secret alone.
    """
    parts = parsed(text)
    if parts is None:
        raise unknown()
    key_id, secret = parts
    kept = session.scalar(select(ApiKeyRow.secret_sha256).where(ApiKeyRow.id == key_id))
    if not hmac.compare_digest(kept or "", sha256_of(secret)):
        raise unknown()
    return standing(session, key_id)


def standing(session: Session, key_id: str) -> Identity:
    """What a key that was shown stands for now. Raises Unauthenticated."""
    ended = (ApiKeyRow.revoked_at.is_not(None), ApiKeyRow.expires_at <= now())
    found = session.execute(select(ApiKeyRow, *ended).where(ApiKeyRow.id == key_id)).first()
    if found is None:
        raise unknown()
    row, revoked, expired = found
    if revoked:
        raise Unauthenticated("This key was revoked: use another.", code="key_revoked")
    if expired:
        raise Unauthenticated("This key has expired: use another.", code="key_expired")
    return Identity(ProjectId(row.project_id), row.scope, row.id)


def unused(session: Session, key_id: str) -> bool:
    """Whether nobody kept for a minute that the key is in use."""
    wanted = select(ApiKeyRow.id).where(ApiKeyRow.id == key_id, _unused())
    return session.scalar(wanted) is not None


def touch(session: Session, key_id: str) -> None:
    """Keep that the key is in use, if nobody has for a minute."""
    session.execute(
        update(ApiKeyRow).where(ApiKeyRow.id == key_id, _unused()).values(last_used_at=now()),
        execution_options={"synchronize_session": False},
    )


def unknown() -> Unauthenticated:
    """What all are told whose key is not one of ours."""
    return Unauthenticated("Send a key: `Authorization: Bearer hs_…`. There is none, or not ours.")


def parsed(text: str) -> tuple[str, str] | None:
    """Id and secret of what has the form and the check of a key."""
    found = SHAPE.fullmatch(text)
    if found is None or found[3] != _check(text[: -CHECK_LENGTH - 1]):
        return None
    return found[1], found[2]


def random_text() -> str:
    """32 random bytes, as letters and digits."""
    return _base62(int.from_bytes(secrets.token_bytes(SECRET_BYTES)), SECRET_LENGTH)


def sha256_of(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _unused() -> ColumnElement[bool]:
    return or_(ApiKeyRow.last_used_at.is_(None), ApiKeyRow.last_used_at < now(-USED_SECONDS))


def _minted() -> tuple[str, str, str]:
    key_id = "".join(secrets.choice(ALPHABET) for _ in range(ID_LENGTH))
    secret = random_text()
    body = f"hs_{key_id}_{secret}"
    return key_id, secret, f"{body}_{_check(body)}"


def _check(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), CHECK_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(ALPHABET))
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))
