"""Column types that mean the same on SQLite and PostgreSQL."""

import struct
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, ColumnElement, Enum, LargeBinary, String, Text, type_coerce
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from core.db import documents

JSON_COLUMN = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def words(kind: type[Any]) -> Enum:
    """A StrEnum as a short text column; the codebase, not the database, lists its members."""
    return Enum(kind, native_enum=False, length=16, values_callable=lambda e: [m.value for m in e])


class Instant(TypeDecorator[datetime]):
    """An aware UTC datetime: `timestamptz`, or on SQLite text that sorts (to the millisecond)."""

    impl = String(23)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """`timestamptz` where there is one."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(TIMESTAMP(timezone=True))
        return dialect.type_descriptor(String(23))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Refuse naive datetimes: nobody knows which moment they mean."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a datetime without a timezone")
        value = value.astimezone(UTC)
        if dialect.name == "postgresql":
            return value
        return value.replace(tzinfo=None).isoformat(sep=" ", timespec="milliseconds")

    def process_result_value(self, value: Any, _dialect: Dialect) -> datetime | None:
        """Always aware, always UTC."""
        if isinstance(value, str):
            return datetime.fromisoformat(value).replace(tzinfo=UTC)
        return value.astimezone(UTC) if isinstance(value, datetime) else None


class Document(TypeDecorator[Any]):
    """A JSON column read back as the domain type it holds."""

    impl = JSON
    cache_ok = True

    def __init__(self, kind: Any = dict[str, Any]) -> None:
        super().__init__()
        self.kind = kind

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """`jsonb` where there is one."""
        return dialect.type_descriptor(JSON_COLUMN)

    def process_bind_param(self, value: Any, _dialect: Dialect) -> Any:
        """Plain JSON types only."""
        return None if value is None else documents.dump(value)

    def process_result_value(self, value: Any, _dialect: Dialect) -> Any:
        """The domain value."""
        return None if value is None else documents.load(self.kind, value)


def word(document: Any, *path: str) -> ColumnElement[Any]:
    """The text at that path of a JSON column; null where there is none."""
    found: Any = type_coerce(document, JSON_COLUMN)
    for step in path:
        found = found[step]
    text: ColumnElement[Any] = found.as_string()
    return text


class Vector(TypeDecorator[tuple[float, ...]]):
    """A vector of 32-bit floats as bytes, little-endian; an empty one when there is none."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: tuple[float, ...] | None, _dialect: Dialect) -> bytes:
        """The floats, packed."""
        return struct.pack(f"<{len(value or ())}f", *(value or ()))

    def process_result_value(self, value: bytes | None, _dialect: Dialect) -> tuple[float, ...]:
        """The floats."""
        return struct.unpack(f"<{len(value or b'') // 4}f", value or b"")


class PlainText(TypeDecorator[str]):
    """Text from outside: what PostgreSQL would refuse (NUL, lone surrogates) is left out."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, _dialect: Dialect) -> str | None:
        """The text, storable."""
        return None if value is None else documents.clean(value)
