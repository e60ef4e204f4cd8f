"""A migration steps aside for whoever uses its tables, tries again, and says who they are."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import text

from core.db import schema
from core.db.sessions import Sessions
from core.errors import Unavailable

pytestmark = pytest.mark.services

LOCK, PAUSE = 0.5, 0.3
HELD = 3.0  # by the long reader, at least
TRYING = "in use (process"
USED = text("SELECT count(*) FROM supernets")  # which 0006 alters, and 0005 does not


@pytest.fixture
def older(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sessions]:
    """A database that lacks the newest revision."""
    monkeypatch.setattr(schema, "LOCK_SECONDS", LOCK)
    monkeypatch.setattr(schema, "LOCK_PAUSE_SECONDS", PAUSE)
    schema.migrate(postgres_url, revision="0005")
    opened = Sessions(postgres_url)
    yield opened
    opened.dispose()


@contextmanager
def looking(opened: Sessions) -> Iterator[list[float]]:
    """Somebody who reads the table all the time; how long each look took."""
    took: list[float] = []
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.01):
            begun = time.monotonic()
            with opened.read() as session:
                session.execute(USED)
            took.append(time.monotonic() - begun)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield took
    finally:
        ended.set()
        thread.join()


def test_a_migration_waits_for_a_long_reader_without_holding_up_others(
    older: Sessions, postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    done = threading.Event()

    def migrate() -> None:
        schema.migrate(postgres_url)
        done.set()

    migration = threading.Thread(target=migrate)
    with looking(older) as took:
        with older.read() as session:
            session.execute(USED)
            migration.start()
            time.sleep(HELD)
            latest = time.monotonic() + 60  # on a busy machine it may not have begun yet
            while TRYING not in caplog.text and time.monotonic() < latest:
                time.sleep(0.05)
            assert not done.is_set()
        migration.join(timeout=60)
        assert done.is_set()
    assert not schema.pending(postgres_url)
    # The others queued behind it, each time for as long as it waits and no longer: without the
    # limit, until the long reader's end.
    assert LOCK / 2 < max(took) < HELD - LOCK
    assert TRYING in caplog.text


def test_a_reader_who_never_ends_is_named_and_nothing_changes(
    older: Sessions, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "LOCK_TRIES", 2)
    with older.read() as session:
        session.execute(USED)
        pid = session.scalar(text("SELECT pg_backend_pid()"))
        begun = time.monotonic()
        with pytest.raises(Unavailable, match="at each of 2 tries") as caught:
            schema.migrate(postgres_url)
        assert time.monotonic() - begun > 2 * LOCK + PAUSE
        assert f"Open the longest: process {pid} (headstart, " in caught.value.message
    assert schema.pending(postgres_url)
    schema.migrate(postgres_url)
    assert not schema.pending(postgres_url)


def test_a_migration_that_waits_for_its_turn_says_for_what(
    older: Sessions, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "TURN_SECONDS", 1)
    with older.begin() as session:
        session.execute(text(f"SELECT pg_advisory_xact_lock({schema.ONE_AT_A_TIME})"))
        with pytest.raises(Unavailable, match="Another process has been migrating"):
            schema.migrate(postgres_url)
    schema.migrate(postgres_url)
    assert not schema.pending(postgres_url)
