"""PostgreSQL goes away, with a word or without: `Unavailable` soon, and never half of anything."""

import contextlib
import threading
import time
from collections.abc import Iterator

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from core.db import postgresql
from core.db.sessions import Sessions
from core.domain.identity import DEFAULT
from core.errors import Unavailable
from tests.chaos.proxy import Proxy, proxied
from tests.fixtures.postgres import OwnServer

pytestmark = pytest.mark.services

SILENCE, CONNECT = 0.4, 2  # libpq rounds fewer than two seconds up
BOUND = 8.0  # both of them, on a machine that is busy with something else


@pytest.fixture
def wire(postgres_url: str) -> Iterator[Proxy]:
    with proxied(("127.0.0.1", make_url(postgres_url).port or 5432)) as made:
        yield made


@pytest.fixture
def opened(wire: Proxy, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sessions]:
    """Transactions over the wire, soon tired of silence."""
    monkeypatch.setattr(postgresql, "SILENCE_SECONDS", SILENCE)
    monkeypatch.setattr(postgresql, "CONNECT_SECONDS", CONNECT)
    url = make_url(postgres_url).set(port=wire.port)
    made = Sessions(url.render_as_string(hide_password=False)).within(DEFAULT)
    with made.begin() as session:
        session.execute(text("CREATE TABLE halves (pair INTEGER, half INTEGER)"))
    yield made
    made.dispose()


def half(session: Session, pair: int, which: int) -> None:
    session.execute(text("INSERT INTO halves VALUES (:p, :h)"), {"p": pair, "h": which})


def stored(opened: Sessions) -> dict[int, int]:
    """How many halves there are of each pair."""
    with opened.read() as session:
        rows = session.execute(text("SELECT pair, count(*) AS n FROM halves GROUP BY pair"))
        return {row.pair: row.n for row in rows}


@contextlib.contextmanager
def unavailable_soon() -> Iterator[None]:
    begun = time.monotonic()
    with pytest.raises(Unavailable, match="does not answer"):
        yield
    assert time.monotonic() - begun < BOUND


@pytest.mark.parametrize("moment", ["connecting", "idle", "within", "committing"])
def test_silence_is_unavailable_soon(opened: Sessions, wire: Proxy, moment: str) -> None:
    if moment == "connecting":
        opened.dispose()
    with unavailable_soon(), opened.begin() as session:
        if moment in {"connecting", "idle"}:
            wire.black_hole()  # the pool's connection, if it has one, is not yet asked for
        half(session, 1, 1)
        if moment == "within":
            wire.black_hole()
        half(session, 1, 2)
        wire.black_hole()
    with unavailable_soon():
        stored(opened)
    wire.reset()  # what the silence held back is lost
    wire.forward()
    with opened.begin() as session:
        half(session, 2, 1)
        half(session, 2, 2)
    assert stored(opened) == {2: 2}


def test_a_commit_whose_answer_is_lost_is_whole(opened: Sessions, wire: Proxy) -> None:
    wire.cut_at(b"COMMIT")
    with unavailable_soon(), opened.begin() as session:
        half(session, 1, 1)
        half(session, 1, 2)
    assert wire.cuts == 1
    wire.forward()
    assert stored(opened) == {1: 2}


def test_a_slow_answer_is_no_silence_while_the_tables_are_changed(opened: Sessions) -> None:
    slow = text(f"SELECT pg_sleep({3 * SILENCE})")
    with unavailable_soon(), opened.read() as session:
        session.execute(slow)
    with opened.connect() as connection:
        connection.execute(slow)
    with unavailable_soon(), opened.read() as session:  # its patience is not handed on
        session.execute(slow)


def test_a_statement_that_takes_too_long_is_ended_by_the_server(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "STATEMENT_SECONDS", 1)
    opened = Sessions(postgres_url).within(DEFAULT)
    who = text("SELECT pg_backend_pid()")
    with opened.read() as session:
        before = session.scalar(who)
    with unavailable_soon(), opened.read() as session:
        session.execute(text("SELECT pg_sleep(60)"))
    with opened.read() as session:
        assert session.scalar(who) == before  # told so, the connection is as good as before
    with opened.connect() as connection:
        connection.execute(text("SELECT pg_sleep(1.2)"))
    opened.dispose()


def test_a_frozen_owner_lets_go_of_its_rows(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "IDLE_SECONDS", 1)
    opened = Sessions(postgres_url).within(DEFAULT)
    with opened.begin() as session:
        session.execute(text("CREATE TABLE halves (pair INTEGER, half INTEGER)"))
        half(session, 1, 1)
    change = text("UPDATE halves SET half = half + 1")
    with unavailable_soon(), opened.begin() as frozen:
        frozen.execute(change)
        with opened.begin() as other:
            other.execute(change)  # waits for the row until the server ends the frozen one
        frozen.execute(change)
    with opened.read() as session:
        assert session.scalar(text("SELECT half FROM halves")) == 2
    opened.dispose()


def three_at_once(opened: Sessions) -> None:
    with opened.read() as one, opened.read() as two, opened.begin() as three:
        for session in (one, two, three):
            session.execute(text("SELECT 1"))


def test_a_crash_of_the_server_under_an_open_pool(own_postgres: OwnServer) -> None:
    opened = Sessions(own_postgres.url).within(DEFAULT)
    with opened.begin() as session:
        session.execute(text("CREATE TABLE halves (pair INTEGER, half INTEGER)"))
    acknowledged: list[int] = []
    failures: list[Exception] = []

    def write(first: int) -> None:
        """Pairs until the first failure."""
        for pair in range(first, first + 1_000_000):
            try:
                with opened.begin() as session:
                    half(session, pair, 1)
                    half(session, pair, 2)
            except Exception as error:  # noqa: BLE001 - which one it is, is the question
                failures.append(error)
                return
            acknowledged.append(pair)

    writers = [threading.Thread(target=write, args=(n * 1_000_000,)) for n in (1, 2, 3)]
    for writer in writers:
        writer.start()
    while len(acknowledged) < 30:
        time.sleep(0.01)
    with unavailable_soon(), opened.begin() as session:
        half(session, 0, 1)
        own_postgres.stop()
        half(session, 0, 2)
    for writer in writers:
        writer.join()
    with unavailable_soon():
        stored(opened)
    own_postgres.start()
    three_at_once(opened)
    own_postgres.stop()
    own_postgres.start()
    three_at_once(opened)  # nobody looked meanwhile: three dead connections lay in the pool
    found = stored(opened)
    assert {type(failure) for failure in failures} == {Unavailable}
    assert set(found.values()) == {2}
    assert set(acknowledged) <= set(found)
    assert 0 not in found
    opened.dispose()
