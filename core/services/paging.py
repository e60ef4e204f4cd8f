"""Keyset pages: a row added meanwhile never shifts or repeats the ones to come."""

import base64
import binascii
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Integer, Select, Uuid, literal, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.types import TypeEngine

from core.db.types import Instant
from core.errors import Detail, InvalidInput

MOST = 1_000
WIDEST = 2**31  # what an integer column holds
Order = Literal["newest", "oldest"]
NamedOrder = Literal["newest", "oldest", "name"]


def page(
    session: Session,
    statement: Select[*tuple[Any, ...]],
    *,
    by: Sequence[InstrumentedAttribute[Any]],
    limit: int,
    after: str | None,
    order: NamedOrder = "newest",
) -> tuple[list[Any], str | None]:
    """One page of rows, and the token of the next one if there is one. Raises InvalidInput.

    `statement` selects the entity first; `by` are columns of it that no two rows share: a time or
    a name, say, then the id. All but `newest` go up.
    """
    if not 1 <= limit <= MOST:
        raise _refused("page_size", f"Give a page size from 1 to {MOST}.")
    down = order == "newest"
    if after is not None:
        last = tuple_(*_opened(after, by))
        place = tuple_(*by)
        statement = statement.where(place < last if down else place > last)
    ordered = statement.order_by(*(each.desc() if down else each.asc() for each in by))
    rows = list(session.execute(ordered.limit(limit + 1)).all())
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], _token([getattr(rows[limit - 1][0], each.key) for each in by])


def sorted_by(row: Any, order: NamedOrder) -> tuple[InstrumentedAttribute[Any], ...]:
    """The columns that put a table's rows in this order."""
    return (row.name if order == "name" else row.created_at), row.id


def _token(values: Sequence[Any]) -> str:
    text = json.dumps([_spelled(each) for each in values], ensure_ascii=False)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _spelled(value: Any) -> str | int:
    if isinstance(value, datetime):
        return value.isoformat()
    return value.hex if isinstance(value, UUID) else value


def _opened(token: str, by: Sequence[InstrumentedAttribute[Any]]) -> list[Any]:
    """What `_token` was given, as values of these columns."""
    try:
        padded = token + "=" * (-len(token) % 4)
        values = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        read = [_read(value, each.type) for value, each in zip(values, by, strict=True)]
        return [literal(value, each.type) for value, each in zip(read, by, strict=True)]
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


def _read(value: Any, kind: TypeEngine[Any]) -> Any:
    if isinstance(kind, Instant):
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ValueError("no timezone")
        return moment.astimezone(UTC)
    if isinstance(kind, Uuid):
        return UUID(value)
    if isinstance(kind, Integer):
        if type(value) is not int or abs(value) >= WIDEST:
            raise ValueError("no number of such a column")
        return value
    text = str(value)
    text.encode()  # half of a pair is no text
    if "\0" in text:  # PostgreSQL has no such text
        raise ValueError("NUL")
    return text


def _refused(place: str, message: str) -> InvalidInput:
    return InvalidInput(message, details=[Detail(place, "invalid", message)])
