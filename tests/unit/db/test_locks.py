"""A chore has one doer at a time, and nobody waits for it."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from core.db import locks
from core.db.sessions import Sessions
from core.domain.identity import DEFAULT


def alone(sessions: Sessions, chore: str) -> bool:
    with sessions.begin() as session:
        return locks.alone(session, chore)


def test_who_is_alone_may(sessions: Sessions) -> None:
    assert alone(sessions, "sweep")
    assert alone(sessions, "sweep")  # the first transaction has ended


@pytest.mark.services
def test_whoever_comes_second_is_told_at_once(postgres_url: str) -> None:
    sessions = Sessions(postgres_url).within(DEFAULT)
    with ThreadPoolExecutor(1) as other, sessions.begin() as session:
        assert locks.alone(session, "sweep")
        assert not other.submit(alone, sessions, "sweep").result(timeout=20)
        assert other.submit(alone, sessions, "another chore").result(timeout=20)
    assert alone(sessions, "sweep")
    sessions.dispose()


@pytest.mark.services
def test_a_failed_holder_lets_go(postgres_url: str) -> None:
    sessions = Sessions(postgres_url).within(DEFAULT)

    def fail() -> None:
        with sessions.begin() as session:
            assert locks.alone(session, "sweep")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert alone(sessions, "sweep")
    sessions.dispose()
