"""Centres once more, as pgvector vectors, where PostgreSQL has that extension.

The bytes in `embeddings.centre` are the truth; this table is a copy that lets the server scan them
instead of sending them all. It is no part of the metadata: without it every answer is the same.
"""

import logging
import struct
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, Connection, MetaData, Table, Uuid, select, text, type_coerce
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from sqlalchemy.sql.expression import BindParameter, ColumnElement, cast
from sqlalchemy.types import LargeBinary, Text, UserDefinedType

from core.db.dataset_tables import EmbeddingRow

NAME = "embedding_vectors"
LONGEST = 16_000  # dimensions that pgvector can hold
AT_ONCE = 1000
# Rows stay in their page up to 2000 dimensions: a scan that follows every row elsewhere is slow.
CREATE = f"""
CREATE TABLE {NAME} (
    embedder text NOT NULL,
    dataset_id uuid NOT NULL,
    centre vector NOT NULL,
    CONSTRAINT pk_{NAME} PRIMARY KEY (embedder, dataset_id),
    CONSTRAINT fk_{NAME}_dataset_id_embedder FOREIGN KEY (dataset_id, embedder)
        REFERENCES embeddings (dataset_id, embedder) ON DELETE CASCADE
) WITH (toast_tuple_target = 8160)
"""
DROP = f"DROP TABLE IF EXISTS {NAME}"
# Somebody may have dropped the extension, and with it the column.
PRESENT = f"""
SELECT count(*) FROM pg_attribute
WHERE attrelid = to_regclass('{NAME}') AND attname = 'centre' AND NOT attisdropped
"""
INSTALLED = "SELECT count(*) FROM pg_extension WHERE extname = 'vector'"
AVAILABLE = "SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'"

_log = logging.getLogger(__name__)


class VectorText(UserDefinedType[Sequence[float]]):
    """pgvector's `vector`, written as its text."""

    cache_ok = True

    def get_col_spec(self, **_options: Any) -> str:
        """As the extension calls it."""
        return "vector"

    def bind_processor(self, dialect: Dialect) -> Any:  # noqa: ARG002
        """Digits enough for every 32-bit float to come back as it was."""
        return lambda value: f"[{','.join(map(repr, value))}]"

    def bind_expression(self, bindvalue: BindParameter[Any]) -> ColumnElement[Any]:
        """Said to be a vector: the server does not guess it from text."""
        return cast(bindvalue, self)


VECTORS = Table(
    NAME,
    MetaData(),
    Column("embedder", Text(), primary_key=True),
    Column("dataset_id", Uuid(), primary_key=True),
    Column("centre", VectorText(), nullable=False),
)


def ensure(connection: Connection) -> bool:
    """Make the table if it can be made, and fill in what it lacks; whether it is there.

    Called with every migration to the newest shape: the extension may appear at any time.
    """
    if connection.dialect.name != "postgresql":
        return False
    if not present(connection):
        if not _extended(connection):
            return False
        connection.execute(text(DROP))
        connection.execute(text(CREATE))
    _fill(connection)
    return True


def present(connection: Connection) -> bool:
    """Whether centres are kept as vectors here."""
    return connection.dialect.name == "postgresql" and _holds(connection, PRESENT)


def keep(session: Session, embedding: EmbeddingRow) -> None:
    """Copy a recorded embedding's centre, where centres are kept as vectors."""
    connection = session.connection()
    if _fits(embedding.centre) and present(connection):
        session.flush()
        _insert(connection, [_row(embedding.embedder, embedding.dataset_id, embedding.centre)])


def _extended(connection: Connection) -> bool:
    if _holds(connection, INSTALLED):
        return True
    if not _holds(connection, AVAILABLE):
        return False
    try:
        with connection.begin_nested():
            connection.execute(text("CREATE EXTENSION IF NOT EXISTS vector"))
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
        # Not ours to create, say: its owner may still do it, and the next migration will see it.
        _log.info("pgvector is there but could not be set up; NumPy takes its place")
        return False
    return True


def _holds(connection: Connection, count: str) -> bool:
    return bool(connection.execute(text(count)).scalar_one())


def _fill(connection: Connection) -> None:
    copied = (VECTORS.c.embedder == EmbeddingRow.embedder) & (
        VECTORS.c.dataset_id == EmbeddingRow.dataset_id
    )
    missing = (
        select(
            EmbeddingRow.embedder,
            EmbeddingRow.dataset_id,
            type_coerce(EmbeddingRow.centre, LargeBinary()),
        )
        .outerjoin(VECTORS, copied)
        .where(VECTORS.c.dataset_id.is_(None))
    )
    for rows in connection.execute(missing).partitions(AT_ONCE):
        found = [(embedder, each, _floats(centre)) for embedder, each, centre in rows]
        fitting = [_row(*each) for each in found if _fits(each[2])]
        if fitting:
            _insert(connection, fitting)


def _insert(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    connection.execute(postgresql.insert(VECTORS).on_conflict_do_nothing(), rows)


def _row(embedder: str, dataset_id: Any, centre: Sequence[float]) -> dict[str, Any]:
    return {"embedder": embedder, "dataset_id": dataset_id, "centre": centre}


def _fits(centre: Sequence[float]) -> bool:
    # The extension knows neither NaN nor infinities.
    return 0 < len(centre) <= LONGEST and all(abs(value) < float("inf") for value in centre)


def _floats(centre: bytes) -> tuple[float, ...]:
    return struct.unpack(f"<{len(centre) // 4}f", centre)
