"""Run by Alembic: on the connection of `core.db.schema`, or on the configured database."""

from alembic import context
from sqlalchemy import Connection, text

from core.config import Settings
from core.db import vectors
from core.db.result_tables import Base  # imports every table
from core.db.sessions import Sessions

# Two servers that start at once: the second waits here, then finds nothing left to do.
ONE_AT_A_TIME = 5_407_202_791


def run(connection: Connection) -> None:
    """Migrate on the connection, inside the transaction it is in."""
    postgresql = connection.dialect.name == "postgresql"
    if postgresql:
        connection.execute(text("SET LOCAL lock_timeout = '60s'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ONE_AT_A_TIME})
        # A migration that waits for a table lock stops every query behind it: give up instead.
        connection.execute(text("SET LOCAL lock_timeout = '5s'"))
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        include_name=lambda name, kind, _parents: (kind, name) != ("table", vectors.NAME),
        render_as_batch=not postgresql,
        transactional_ddl=True,  # on SQLite too: our connections say BEGIN themselves
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    with Sessions(Settings().database).connect() as own:
        run(own)
