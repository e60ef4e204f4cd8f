"""Keyset pages, newest first: a row added meanwhile never shifts or repeats the ones to come."""

import base64
import binascii
import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, literal, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from core.errors import Detail, InvalidInput

MOST = 1_000


def page(
    session: Session,
    statement: Select[*tuple[Any, ...]],
    *,
    by: tuple[InstrumentedAttribute[datetime], InstrumentedAttribute[UUID]],
    limit: int,
    after: str | None,
) -> tuple[list[Any], str | None]:
    """One page of rows, and the token of the next one if there is one. Raises InvalidInput.

    `statement` selects the entity first; `by` are its `created_at` and `id`.
    """
    if not 1 <= limit <= MOST:
        raise _refused("page_size", f"Give a page size from 1 to {MOST}.")
    created_at, id_ = by
    if after is not None:
        at, id_after = _opened(after)
        last = tuple_(literal(at, created_at.type), literal(id_after, id_.type))
        statement = statement.where(tuple_(created_at, id_) < last)
    statement = statement.order_by(created_at.desc(), id_.desc()).limit(limit + 1)
    rows = list(session.execute(statement).all())
    if len(rows) <= limit:
        return rows, None
    last_row = rows[limit - 1][0]
    return rows[:limit], _token(last_row.created_at, last_row.id)


def _token(at: datetime, id_: UUID) -> str:
    text = json.dumps([at.isoformat(), id_.hex])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _opened(token: str) -> tuple[datetime, UUID]:
    try:
        padded = token + "=" * (-len(token) % 4)
        at, id_ = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        moment = datetime.fromisoformat(at)
        if moment.tzinfo is None:
            raise ValueError("no timezone")
        return moment.astimezone(UTC), UUID(id_)
    except (  # OverflowError: a time zone that leads out of the years there are
        binascii.Error,
        ValueError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        message = "Pass next_page_token exactly as the last page gave it, or leave it out."
        raise _refused("page_token", message) from error


def _refused(place: str, message: str) -> InvalidInput:
    return InvalidInput(message, details=[Detail(place, "invalid", message)])
