"""Bring a database to the shape this version of the code needs."""

import threading
from collections.abc import Callable
from importlib import resources

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from core.db import vectors
from core.db.sessions import Sessions

_ONE_AT_A_TIME = threading.Lock()


def migrate(url: str, *, revision: str = "head") -> None:
    """Upgrade to `revision`, all or nothing; safe when several processes start at once."""
    sessions = Sessions(url)
    try:
        with sessions.connect() as connection:
            _run(command.upgrade, connection, revision)
            if revision == "head":
                vectors.ensure(connection)
    finally:
        sessions.dispose()


def downgrade(url: str, *, revision: str) -> None:
    """Go back to `revision` ("base" undoes everything)."""
    sessions = Sessions(url)
    try:
        with sessions.connect() as connection:
            _run(command.downgrade, connection, revision)
    finally:
        sessions.dispose()


def pending(url: str) -> bool:
    """Whether the database lacks a migration this code knows. Raises Unavailable."""
    sessions = Sessions(url)
    try:
        with sessions.read() as session:
            current = MigrationContext.configure(session.connection()).get_current_heads()
    finally:
        sessions.dispose()
    return set(current) != set(ScriptDirectory.from_config(_config()).get_heads())


def _run(direction: Callable[[Config, str], None], connection: Connection, revision: str) -> None:
    # Between processes the migration itself takes turns; within one, Alembic's globals must.
    with _ONE_AT_A_TIME:
        direction(_config(connection), revision)


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    # `%` would be read as an interpolation.
    folder = str(resources.files("migrations")).replace("%", "%%")
    config.set_main_option("script_location", folder)
    config.attributes["connection"] = connection
    return config
