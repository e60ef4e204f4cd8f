"""An outcome that could not be noted, on both databases: the message is sent again, or once."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import pytest
from pydantic import SecretStr
from sqlalchemy import update
from sqlalchemy.orm import Session
from structlog.testing import capture_logs

from core.db.clock import now
from core.db.sessions import Sessions
from core.db.webhook_tables import DeliveryRow
from core.domain.webhooks import Delivery, DeliveryState, EventType, Webhook
from core.errors import Unavailable
from core.execution.courier import Courier
from core.execution.deliveries import SENT, Sender
from core.execution.reach import Reach
from core.services import webhooks
from core.services.sealing import Seal
from tests.fixtures.impostor import Impostor, answer, impostor

SEAL = Seal(SecretStr("k" * 32))
CLAIM, NOTE = 1, 2  # the writing transactions of a round with one message


class Lossy:
    """Sessions whose database goes away in one transaction: before its commit, or after it and
    before anybody heard of that."""

    def __init__(self, sessions: Sessions, *, number: int, committed: bool) -> None:
        self._sessions, self._number, self._committed = sessions, number, committed
        self._begun = 0
        self.read = sessions.read

    @contextmanager
    def begin(self) -> Iterator[Session]:
        self._begun += 1
        lost = self._begun == self._number
        if lost and not self._committed:
            raise Unavailable("The database does not answer.")
        with self._sessions.begin() as session:
            yield session
        if lost:
            raise Unavailable("The database does not answer.")


@pytest.fixture
def receiver() -> Iterator[Impostor]:
    with impostor(lambda _, connection: connection.sendall(answer(204))) as made:
        yield made


@pytest.fixture
def hook(sessions: Sessions, receiver: Impostor) -> Webhook:
    with sessions.begin() as session:
        made, _ = webhooks.create(
            session, url=receiver.url, events=tuple(EventType), description="", seal=SEAL
        )
        webhooks.send_test(session, made.id)
    return made


def sender(sessions: Sessions | Lossy) -> Sender:
    return Sender(cast(Sessions, sessions), Courier(Reach(private=True, loopback=True), SEAL))


def the_one(sessions: Sessions, hook: Webhook) -> Delivery:
    with sessions.read() as session:
        ((found,), _) = webhooks.deliveries(session, hook.id, limit=9)
    return found


def lease_ends(sessions: Sessions) -> None:
    with sessions.begin() as session:
        session.execute(update(DeliveryRow).values(due_at=now(-1)))


def delivered() -> float:
    return SENT.labels("delivered")._value.get()  # type: ignore[no-any-return]


def test_what_could_not_be_noted_is_sent_again(
    sessions: Sessions, hook: Webhook, receiver: Impostor
) -> None:
    before = delivered()
    with capture_logs() as lines:
        sender(Lossy(sessions, number=NOTE, committed=False)).empty()
    assert [each["event"] for each in lines] == ["delivery_not_noted"]
    found = the_one(sessions, hook)
    assert (found.state, found.attempts) == (DeliveryState.PENDING, ())
    assert found.due_at is not None
    assert delivered() == before
    sender(sessions).empty()
    assert len(receiver.heard) == 1  # another's until the lease ends
    lease_ends(sessions)
    sender(sessions).empty()
    first, second = receiver.heard
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    found = the_one(sessions, hook)
    assert (found.state, len(found.attempts)) == (DeliveryState.DELIVERED, 1)
    assert delivered() == before + 1


def test_what_was_noted_unheard_is_not_sent_again(
    sessions: Sessions, hook: Webhook, receiver: Impostor
) -> None:
    sender(Lossy(sessions, number=NOTE, committed=True)).empty()
    assert the_one(sessions, hook).state is DeliveryState.DELIVERED
    sender(sessions).empty()
    assert len(receiver.heard) == 1


@pytest.mark.parametrize("committed", [True, False])
def test_what_could_not_be_taken_is_taken_later(
    sessions: Sessions, hook: Webhook, receiver: Impostor, committed: bool
) -> None:
    with pytest.raises(Unavailable):
        sender(Lossy(sessions, number=CLAIM, committed=committed)).empty()
    assert receiver.heard == []
    if committed:
        lease_ends(sessions)
    sender(sessions).empty()
    assert len(receiver.heard) == 1
    assert the_one(sessions, hook).state is DeliveryState.DELIVERED
