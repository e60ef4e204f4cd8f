"""INSERT … ON CONFLICT, which each dialect spells with a construct of its own."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Session


def insert_or_update(
    session: Session, table: type[DeclarativeBase], rows: Sequence[Mapping[str, Any]]
) -> None:
    """Insert the rows; one whose primary key exists replaces what was there."""
    statement = _insert(session, table)
    keys = [column.name for column in table.__table__.primary_key]
    kept = {*keys, "project_id"}  # whose it is never changes
    fresh = {name: statement.excluded[name] for name in rows[0] if name not in kept}
    session.execute(statement.on_conflict_do_update(index_elements=keys, set_=fresh), rows)


def insert_or_keep(
    session: Session, table: type[DeclarativeBase], rows: Sequence[Mapping[str, Any]]
) -> None:
    """Insert the rows; one whose primary key exists is left as it was."""
    session.execute(_insert(session, table).on_conflict_do_nothing(), rows)


def _insert(session: Session, table: type[DeclarativeBase]) -> Any:
    if session.get_bind().dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)
