"""One key, one job, on both databases: asked again, at the same moment, too late, or otherwise."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from core.db.clock import now
from core.db.job_tables import IdempotencyKeyRow, JobRow
from core.db.sessions import Sessions
from core.domain.jobs import Job
from core.errors import Conflict, InvalidInput
from core.services import idempotency, moves
from tests.unit.services.samples import queued

ASKED = {"kind": "embed", "spec": {"n": 1, "rate": 0.5}}


def ask(sessions: Sessions, key: str | None, asked: object = ASKED) -> tuple[Job, bool]:
    with sessions.begin() as session:
        return idempotency.once(session, key, asked=asked, make=lambda: queued(session))


def jobs_there(sessions: Sessions) -> int:
    with sessions.read() as session:
        return session.scalar(select(func.count()).select_from(JobRow)) or 0


def _refused(session: Session) -> None:
    with moves.attempt(session):
        queued(session)
        raise InvalidInput("the second of two")


def test_moves_since_a_savepoint_are_rolled_back_with_it(sessions: Sessions) -> None:
    with sessions.begin() as session:
        kept = queued(session)
        with pytest.raises(InvalidInput):
            _refused(session)
        with moves.attempt(session):
            queued(session)
        assert len(moves.made(session)) == 2
        assert session.get(JobRow, kept.id) is not None
    assert jobs_there(sessions) == 2


def test_a_key_stands_for_one_job(sessions: Sessions) -> None:
    first, replayed = ask(sessions, "a")
    assert not replayed
    in_other_order = {"spec": {"rate": 0.5, "n": 1}, "kind": "embed"}
    assert ask(sessions, "a", in_other_order) == (first, True)
    other, replayed = ask(sessions, "b")
    assert (other.id != first.id, replayed) == (True, False)
    with pytest.raises(InvalidInput) as caught:
        ask(sessions, "a", {**ASKED, "kind": "rank"})
    assert caught.value.stable_code == "idempotency_key_reused"
    assert jobs_there(sessions) == 2


def test_without_a_key_every_request_counts(sessions: Sessions) -> None:
    assert ask(sessions, None)[0].id != ask(sessions, None)[0].id
    assert jobs_there(sessions) == 2


def test_a_request_that_fails_leaves_its_key_free(sessions: Sessions) -> None:
    def refuse(session: Session) -> Job:
        queued(session)
        raise InvalidInput("no")

    with pytest.raises(InvalidInput, match="no"), sessions.begin() as session:
        idempotency.once(session, "a", asked=ASKED, make=lambda: refuse(session))
    assert jobs_there(sessions) == 0
    assert ask(sessions, "a")[1] is False


def test_keys_are_forgotten_when_they_are_old(sessions: Sessions) -> None:
    old, young = (ask(sessions, key)[0] for key in ("old", "young"))
    with sessions.begin() as session:
        at = {"created_at": now(-idempotency.KEPT_SECONDS - 60)}
        session.execute(update(IdempotencyKeyRow).where(IdempotencyKeyRow.key == "old").values(at))
        assert idempotency.forget(session, 2 * idempotency.KEPT_SECONDS) == 0
        assert idempotency.forget(session) == 1
        assert idempotency.forget(session) == 0
        with pytest.raises(ValueError, match="86400"):
            idempotency.forget(session, 60.0)
    assert ask(sessions, "young") == (young, True)
    again, replayed = ask(sessions, "old")
    assert (again.id != old.id, replayed) == (True, False)


@contextmanager
def beside(sessions: Sessions, work: Callable[[Session], object]) -> Iterator[threading.Event]:
    """`work` done in another transaction, which stays open until the event is set."""
    done, close = threading.Event(), threading.Event()

    def hold() -> None:
        with sessions.begin() as session:
            work(session)
            done.set()
            close.wait(20)

    with ThreadPoolExecutor(1) as pool:
        holder = pool.submit(hold)
        try:
            assert done.wait(20)
            yield close
        finally:
            close.set()
            holder.result()


def test_who_comes_second_waits_for_the_first(sessions: Sessions) -> None:
    made: list[Job] = []

    def first(session: Session) -> None:
        asked = {"asked": ASKED, "make": lambda: queued(session)}
        made.append(idempotency.once(session, "a", **asked)[0])

    with beside(sessions, first) as close, ThreadPoolExecutor(1) as pool:
        second = pool.submit(ask, sessions, "a")
        with pytest.raises(TimeoutError):
            second.result(0.2)
        close.set()
        job, replayed = second.result()
    assert (job.id, replayed) == (made[0].id, True)
    assert jobs_there(sessions) == 1  # what the second had begun to make is gone


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.services
def test_who_waits_too_long_is_told(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "PATIENCE_SECONDS", 0.05)

    def first(session: Session) -> None:
        idempotency.once(session, "a", asked=ASKED, make=lambda: queued(session))

    with beside(sessions, first), pytest.raises(Conflict) as caught:
        ask(sessions, "a")
    assert caught.value.stable_code == "idempotency_key_in_flight"
    assert jobs_there(sessions) == 1
