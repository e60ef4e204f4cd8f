"""Engines and sessions. Dialects: here, in `clock`, `locks`, `postgresql`, `types`, `upserts`."""

from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from core.db import scope
from core.domain.identity import ProjectId
from core.errors import Unavailable

BUSY_SECONDS = 30.0
READING = "headstart_reading"

Hearer = Callable[[MutableMapping[Any, Any]], None]


class Sessions:
    """Short transactions on one database; each ends with its `with` block.

    They see all rows, as the system must; those of a view by `within` see what is its project's.
    """

    def __init__(self, url: str) -> None:
        self._engine = _engine(_normal(url))
        options: dict[str, Any] = {READING: True}
        if self._engine.dialect.name == "postgresql":
            options["postgresql_readonly"] = True
        self._reader = self._engine.execution_options(**options)
        self._hearers: list[Hearer] = []
        self._project: ProjectId | None = None

    @property
    def project(self) -> ProjectId:
        """The project whose rows they see. Raises LookupError for the system's, which see all."""
        if self._project is None:
            raise LookupError("these sessions are of no project")
        return self._project

    def within(self, project: ProjectId) -> "Sessions":
        """The same database, as far as it is this project's (`core.db.scope`)."""
        view = copy(self)
        view._project = project
        return view

    def follow(self, hear: Hearer) -> None:
        """Have `hear` called with what each session kept in its `info`, once it is committed.

        Never of a commit whose answer was lost. Said twice, it is still called once.
        """
        if hear not in self._hearers:
            self._hearers.append(hear)

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """A write transaction: committed at the end of the block, rolled back if it raises."""
        with _translated(), self._session(self._engine) as session, session.begin():
            yield session
        for hear in self._hearers:
            hear(session.info)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that the database itself keeps from writing."""
        with _translated(), self._session(self._reader) as session, session.begin():
            yield session

    def _session(self, engine: Engine) -> Session:
        return scope.ScopedSession(engine, info={scope.PROJECT: self._project})

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A bare connection in one write transaction that may take its time (migrations).

        On SQLite references are checked at its end, so that a table may be made anew meanwhile.
        """
        with _translated(), self._engine.connect() as connection:
            sqlite = connection.dialect.name == "sqlite"
            if sqlite:
                _check_references_later(connection)
            with connection.begin():
                if not sqlite:
                    from core.db import postgresql

                    postgresql.wait_for_ever(connection)
                yield connection
                if sqlite:
                    _check_references(connection)

    def check(self) -> None:
        """Raise Unavailable, saying why, when the database does not answer or lacks its tables."""
        with self.read() as session:
            # Not SELECT 1: for that SQLite does not even open its file.
            if not inspect(session.connection()).has_table("alembic_version"):
                raise Unavailable("The database lacks its tables: run the migrations.")

    def dispose(self) -> None:
        """Close every pooled connection."""
        self._engine.dispose()


def _normal(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ValueError("not a database URL") from error  # never echo it: it holds a password
    if parsed.drivername in {"postgres", "postgresql"}:
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() not in {"sqlite", "postgresql"}:
        raise ValueError(f"{parsed.get_backend_name()} is not supported: SQLite or PostgreSQL")
    if parsed.get_backend_name() == "sqlite" and parsed.database in {None, "", ":memory:"}:
        raise ValueError("SQLite needs a file: in memory every connection sees its own database")
    return parsed


def _engine(url: URL) -> Engine:
    if url.get_backend_name() == "postgresql":
        return _postgresql_engine(url)
    Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _postgresql_engine(url: URL) -> Engine:
    from core.db import postgresql  # the driver takes a while to load, for SQLite in vain

    engine = create_engine(
        url,
        pool_pre_ping=True,  # after a restart of the server the next transaction must not fail
        pool_timeout=postgresql.POOL_SECONDS,
        connect_args=postgresql.arguments(url),
    )
    postgresql.listen(engine)
    return engine


def _prepare_sqlite(connection: Any, _entry: ConnectionPoolEntry) -> None:
    # The driver's own idea of when to BEGIN is switched off: `_begin_sqlite` says it.
    connection.isolation_level = None
    # Not WAL: SQLite before 3.51.3 can corrupt one that several connections write to.
    for pragma in ("journal_mode=TRUNCATE", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _check_references_later(connection: Connection) -> None:
    driver: Any = connection.connection.dbapi_connection
    driver.execute("PRAGMA foreign_keys=OFF")  # heeded outside of transactions alone
    connection.detach()  # no later one must go unchecked


def _check_references(connection: Connection) -> None:
    if broken := connection.exec_driver_sql("PRAGMA foreign_key_check").first():
        raise IntegrityError(f"a row of {broken[0]} points at nothing", None, ValueError(broken))


def _begin_sqlite(connection: Connection) -> None:
    reading = connection.get_execution_options().get(READING, False)
    connection.exec_driver_sql(f"PRAGMA query_only={'ON' if reading else 'OFF'}")
    # A writer takes the lock first: two readers that both want to write would deadlock.
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (DBAPIError, PoolTimeout) as error:
        # A session that the server ends, ends in many classes: they share a lost connection.
        lost = isinstance(error, DBAPIError) and error.connection_invalidated
        if lost or isinstance(error, (OperationalError, InterfaceError, PoolTimeout)):
            raise Unavailable("The database does not answer; try again in a moment.") from error
        raise
