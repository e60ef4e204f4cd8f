"""Bring a database to the shape this version of the code needs."""

import logging
import threading
import time
from collections.abc import Callable
from importlib import resources

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from core.db import vectors
from core.db.locks import LOCK_NOT_AVAILABLE
from core.db.sessions import Sessions
from core.errors import Unavailable

# Two servers that start at once: the second waits here, then finds nothing left to do.
ONE_AT_A_TIME = 5_407_202_791
TURN_SECONDS = 60
# A change of a table waits for its readers, and everybody else waits behind it: this long at most.
LOCK_SECONDS = 2.0
LOCK_TRIES = 10
LOCK_PAUSE_SECONDS = 3.0
IN_USE = (
    "The database was not changed: a table to migrate was in use at each of {tries} tries. "
    "End what uses it and migrate again. Open the longest: {holders}."
)
OPEN_TRANSACTIONS = """
SELECT pid, coalesce(nullif(application_name, ''), 'unnamed'),
       extract(epoch FROM clock_timestamp() - xact_start)
FROM pg_stat_activity
WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()
ORDER BY xact_start LIMIT 3
"""

_log = logging.getLogger(__name__)
_IN_THIS_PROCESS = threading.Lock()


def migrate(url: str, *, revision: str = "head") -> None:
    """Upgrade to `revision`, all or nothing; safe when several processes start at once.

    Raises Unavailable when a table that must change stays in use: nothing is changed then.
    """

    def upgrade(connection: Connection) -> None:
        _run(command.upgrade, connection, revision)
        if revision == "head":
            vectors.ensure(connection)
        version = ".".join(map(str, connection.dialect.server_version_info or ()))
        _log.info("database: %s %s", connection.dialect.name, version)

    _change(url, upgrade)


def downgrade(url: str, *, revision: str) -> None:
    """Go back to `revision` ("base" undoes everything).

    What the older shape has no room for is dropped and counted in the log. Raises Unavailable as
    `migrate` does, and Conflict where the older code would take what is left for something else.
    """
    _change(url, lambda connection: _run(command.downgrade, connection, revision))


def pending(url: str) -> bool:
    """Whether the database lacks a migration this code knows. Raises Unavailable."""
    sessions = Sessions(url)
    try:
        with sessions.read() as session:
            current = MigrationContext.configure(session.connection()).get_current_heads()
    finally:
        sessions.dispose()
    return set(current) != set(ScriptDirectory.from_config(_config()).get_heads())


class _InUse(Exception):
    """A table stayed locked for as long as a migration may stand in everybody's way."""


def _change(url: str, change: Callable[[Connection], None]) -> None:
    """Each try gives up its place soon, so that those who queued behind it come first."""
    sessions = Sessions(url)
    try:
        for tries in range(1, LOCK_TRIES + 1):
            try:
                with sessions.connect() as connection:
                    _attempt(change, connection)
                return
            except _InUse as error:
                holders = _oldest(sessions)
                if tries == LOCK_TRIES:
                    raise Unavailable(IN_USE.format(tries=tries, holders=holders)) from error
                _log.warning("a table to migrate is in use (%s): trying again", holders)
            time.sleep(LOCK_PAUSE_SECONDS)
    finally:
        sessions.dispose()


def _attempt(change: Callable[[Connection], None], connection: Connection) -> None:
    try:
        change(connection)
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) == LOCK_NOT_AVAILABLE:
            raise _InUse from error
        raise


def _oldest(sessions: Sessions) -> str:
    """The transactions that are open the longest, for whoever has to end one."""
    with sessions.read() as session:
        found = session.execute(text(OPEN_TRANSACTIONS)).all()
    return ", ".join(f"process {pid} ({name}, {age:.0f} s)" for pid, name, age in found) or "none"


def _run(direction: Callable[[Config, str], None], connection: Connection, revision: str) -> None:
    # Between processes the migration itself takes turns; within one, Alembic's globals must.
    with _IN_THIS_PROCESS:
        direction(_config(connection), revision)


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    # `%` would be read as an interpolation.
    folder = str(resources.files("migrations")).replace("%", "%%")
    config.set_main_option("script_location", folder)
    config.attributes["connection"] = connection
    return config
