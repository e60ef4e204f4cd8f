"""Sessions: what each database is told, and what goes wrong in words people understand."""

import os
import socket
import sqlite3
import threading
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, literal, select, text
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.orm import Session

from core.db import schema
from core.db import sessions as module
from core.db.clock import now
from core.db.job_tables import JobRow, in_state
from core.db.sessions import Sessions
from core.db.types import Instant
from core.domain.jobs import JobState
from core.errors import AppError, Unavailable


def count(opened: Sessions) -> int:
    with opened.read() as session:
        return session.execute(text("SELECT count(*) FROM numbers")).scalar_one()


@pytest.fixture
def numbers(sessions: Sessions) -> Sessions:
    with sessions.begin() as session:
        session.execute(text("CREATE TABLE numbers (n INTEGER)"))
    return sessions


def insert(session: Session) -> None:
    session.execute(text("INSERT INTO numbers VALUES (1)"))


def test_a_block_commits_or_leaves_nothing(numbers: Sessions) -> None:
    with numbers.begin() as session:
        insert(session)
    with pytest.raises(ZeroDivisionError), numbers.begin() as session:
        session.execute(text("INSERT INTO numbers VALUES (:n)"), {"n": insert(session) or 1 // 0})
    assert count(numbers) == 1


def test_a_reader_cannot_write(numbers: Sessions) -> None:
    with pytest.raises((DBAPIError, AppError)), numbers.read() as session:
        insert(session)
    assert count(numbers) == 0
    with numbers.begin() as session:  # the same pooled connection writes again
        insert(session)
    assert count(numbers) == 1


def test_a_writer_can_roll_back_to_a_savepoint(numbers: Sessions) -> None:
    with numbers.begin() as session:
        insert(session)
        nested = session.begin_nested()
        insert(session)
        nested.rollback()
    assert count(numbers) == 1


def test_sqlite_is_told_to_be_safe(tmp_path: Path) -> None:
    opened = Sessions(f"sqlite:///{tmp_path / 'x.db'}")
    for block in (opened.begin, opened.read):
        with block() as session:
            told = {
                name: session.execute(text(f"PRAGMA {name}")).scalar_one()
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            }
        assert told == {
            "journal_mode": "truncate",
            "synchronous": 2,
            "foreign_keys": 1,
            "busy_timeout": 30_000,
        }
    opened.dispose()


def test_a_sqlite_file_is_used_in_wal_mode_by_others_alone(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "x.db")
    other.execute("PRAGMA journal_mode=WAL")
    other.execute("CREATE TABLE numbers (n INTEGER)")
    opened = Sessions(f"sqlite:///{tmp_path / 'x.db'}")
    with pytest.raises(Unavailable, match="does not answer"):
        count(opened)
    other.close()
    assert count(opened) == 0
    with opened.read() as session:
        assert session.scalar(text("PRAGMA journal_mode")) == "truncate"
    opened.dispose()


@pytest.mark.services
def test_postgresql_is_told_how_long_to_wait(postgres_url: str) -> None:
    opened = Sessions(postgres_url)
    for block in (opened.begin, opened.read):
        with block() as session:
            assert limits(session.connection()) == LIMITS
    with opened.connect() as connection:  # a migration takes the time it takes
        assert limits(connection) == {**LIMITS, **dict.fromkeys(SERVER_LIMITS, "0")}
    with opened.read() as session:
        assert limits(session.connection()) == LIMITS
    opened.dispose()
    words = "keepalives_idle=77&options=-c%20statement_timeout%3D7s"
    opened = Sessions(f"{postgres_url}?{words}")
    with opened.read() as session:
        said = {"statement_timeout": "7s", "TCP_KEEPIDLE": 77}
        assert limits(session.connection()) == {**LIMITS, **said}
    opened.dispose()


SERVER_LIMITS = {"statement_timeout": "15s", "idle_in_transaction_session_timeout": "30s"}
KERNEL_LIMITS = {
    "SO_KEEPALIVE": 1,
    "TCP_KEEPIDLE": 10,
    "TCP_KEEPINTVL": 3,
    "TCP_KEEPCNT": 3,
    "TCP_USER_TIMEOUT": 15_000,
}
LIMITS = {**SERVER_LIMITS, **KERNEL_LIMITS}


def limits(connection: Connection) -> dict[str, object]:
    """What holds for the server's side of this connection, and for the kernel's."""
    found: dict[str, object] = {
        name: connection.execute(text(f"SHOW {name}")).scalar_one() for name in SERVER_LIMITS
    }
    driver: Any = connection.connection.dbapi_connection
    with socket.socket(fileno=os.dup(driver.fileno())) as wire:
        for name in KERNEL_LIMITS:
            level = socket.IPPROTO_TCP if name.startswith("TCP") else socket.SOL_SOCKET
            found[name] = wire.getsockopt(level, getattr(socket, name))
    return found


def test_two_sqlite_writers_take_turns(tmp_path: Path) -> None:
    opened = Sessions(f"sqlite:///{tmp_path / 'x.db'}")
    with opened.begin() as session:
        session.execute(text("CREATE TABLE numbers (n INTEGER)"))
    reading = threading.Barrier(2)

    def read_then_write() -> None:
        with opened.begin() as session:
            session.execute(text("SELECT count(*) FROM numbers")).all()
            insert(session)

    def run() -> None:
        reading.wait()
        for _ in range(20):
            read_then_write()

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count(opened) == 40
    opened.dispose()


def test_a_locked_sqlite_file_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUSY_SECONDS", 0.05)
    schema.migrate(f"sqlite:///{tmp_path / 'x.db'}")
    opened = Sessions(f"sqlite:///{tmp_path / 'x.db'}")
    opened.check()
    other = sqlite3.connect(tmp_path / "x.db")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(Unavailable, match="does not answer"):
        opened.check()
    with pytest.raises(Unavailable, match="does not answer"), opened.begin() as session:
        session.connection()  # the first use begins, and that already takes the write lock
    other.close()
    opened.check()
    opened.dispose()


def test_a_database_without_tables_is_not_ready(empty_url: str) -> None:
    opened = Sessions(empty_url)
    with pytest.raises(Unavailable, match="migrations"):
        opened.check()
    opened.dispose()
    schema.migrate(empty_url)
    opened.check()
    opened.dispose()


def test_a_server_that_is_not_there_is_unavailable() -> None:
    opened = Sessions("postgresql://nobody:hunter2@127.0.0.1:1/none")
    with pytest.raises(Unavailable) as caught:
        opened.check()
    assert "hunter2" not in caught.value.message
    opened.dispose()


@pytest.mark.parametrize(
    "url", ["nonsense:hunter2", "mysql://u:hunter2@h/d", "sqlite://", "sqlite:///:memory:"]
)
def test_other_databases_are_refused_without_their_password(url: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the words differ
        Sessions(url)
    assert "hunter2" not in str(caught.value)


def test_the_clock_is_the_databases_and_adds_fractions(sessions: Sessions) -> None:
    with sessions.read() as session:
        base, later, earlier = session.execute(select(now(), now(1.25), now(-86_400))).one()
    assert base.tzinfo is UTC
    assert abs(later - base - timedelta(seconds=1.25)) < timedelta(milliseconds=2)
    assert abs(base - earlier - timedelta(days=1)) < timedelta(milliseconds=2)
    assert abs(datetime.now(UTC) - base) < timedelta(seconds=30)


def test_the_clock_moves_within_a_transaction(sessions: Sessions) -> None:
    with sessions.begin() as session:
        first = session.scalar(select(now()))
        threading.Event().wait(0.01)
        assert session.scalar(select(now())) > first


def test_moments_keep_their_instant_and_naive_ones_are_refused(sessions: Sessions) -> None:
    east = datetime(2026, 3, 29, 4, 30, 0, 123_000, tzinfo=timezone(timedelta(hours=5)))
    later = datetime(2026, 3, 28, 23, 30, 0, 124_000, tzinfo=UTC)
    with sessions.read() as session:
        row = session.execute(
            select(literal(east, Instant()), literal(east, Instant()) < literal(later, Instant()))
        ).one()
        with pytest.raises(StatementError, match="timezone"):
            session.scalar(select(literal(datetime(2026, 1, 1), Instant())))
    assert row[0] == east
    assert row[0].tzinfo is UTC
    assert row[1]


def test_partial_indexes_answer_claim_and_reap(sessions: Sessions) -> None:
    with sessions.begin() as session:
        dialect = session.get_bind().dialect
        explain = "EXPLAIN QUERY PLAN " if dialect.name == "sqlite" else "EXPLAIN "
        if dialect.name == "postgresql":
            session.execute(text("SET LOCAL enable_seqscan = off"))
        for state, extra, index in (
            (JobState.QUEUED, JobRow.queue == "cpu", "ix_jobs_queued"),
            (JobState.RUNNING, JobRow.lease_until < now(), "ix_jobs_running"),
        ):
            statement = select(JobRow.id).where(in_state(state), extra)
            compiled = statement.compile(dialect=dialect, compile_kwargs={"literal_binds": True})
            plan = session.connection().exec_driver_sql(explain + str(compiled).replace("%", "%%"))
            assert index in str(plan.all())
