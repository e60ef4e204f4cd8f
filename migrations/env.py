"""Run by Alembic: on the connection of `core.db.schema`, or on the configured database."""

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from core.config import Settings
from core.db import (  # noqa: F401 - every table
    identity_tables,
    result_tables,
    schema,
    upload_tables,
    vectors,
    webhook_tables,
)
from core.db.base import Base
from core.db.sessions import Sessions
from core.errors import Unavailable


def run(connection: Connection) -> None:
    """Migrate on the connection, inside the transaction it is in."""
    postgresql = connection.dialect.name == "postgresql"
    if postgresql:
        _take_turns(connection)
        # A migration that waits for a table lock stops every query behind it: give up instead.
        connection.execute(text(f"SET LOCAL lock_timeout = '{schema.LOCK_SECONDS * 1000:.0f}ms'"))
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        include_name=lambda name, kind, _parents: (kind, name) != ("table", vectors.NAME),
        render_as_batch=not postgresql,
        transactional_ddl=True,  # on SQLite too: our connections say BEGIN themselves
    )
    with context.begin_transaction():
        context.run_migrations()


def _take_turns(connection: Connection) -> None:
    connection.execute(text(f"SET LOCAL lock_timeout = '{schema.TURN_SECONDS}s'"))
    try:
        connection.execute(
            text("SELECT pg_advisory_xact_lock(:key)"), {"key": schema.ONE_AT_A_TIME}
        )
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) != schema.LOCK_NOT_AVAILABLE:
            raise
        words = f"Another process has been migrating this database for {schema.TURN_SECONDS} s."
        raise Unavailable(f"{words} Wait for it, or end it, and try again.") from error


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    with Sessions(Settings().database).connect() as own:
        run(own)
