"""Messages for webhooks, on both databases: with the move they tell of, sent once or once more."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from pydantic import SecretStr
from sqlalchemy import inspect, select, text, update

from core.db.clock import now
from core.db.sessions import Sessions
from core.db.webhook_tables import DeliveryRow, WebhookRow
from core.domain.identity import DEFAULT, ProjectId
from core.domain.jobs import JobKind, QueueName
from core.domain.searches import SearchSpec
from core.domain.webhooks import (
    DELAYS,
    Attempt,
    Delivery,
    DeliveryState,
    DisabledReason,
    EventType,
    Fault,
    Outcome,
    Outgoing,
    Webhook,
    next_delay,
)
from core.errors import Conflict, NotFound
from core.services import idempotency, jobs, outbox, searches, webhooks
from core.services.sealing import Seal
from tests.unit.services.samples import LEASE, claimed, dataset, expire, queued, running

SEAL = Seal(SecretStr("k" * 32))
URL = "https://hooks.example/in"
OTHER = ProjectId(UUID(int=2))
AT = datetime(2026, 3, 2, tzinfo=UTC)
DONE = Outcome(Attempt(AT, 0.1, 204))
FAILED = Outcome(Attempt(AT, 0.1, 500, Fault.STATUS))
GONE = Outcome(Attempt(AT, 0.1, 410, Fault.STATUS), gone=True)


def hook(sessions: Sessions, *events: EventType) -> Webhook:
    with sessions.begin() as session:
        return webhooks.create(
            session, url=URL, events=events or tuple(EventType), description="", seal=SEAL
        )[0]


def log(sessions: Sessions, webhook: Webhook) -> tuple[Delivery, ...]:
    """What was or is to be sent to it, in the order that it happened."""
    with sessions.read() as session:
        found, _ = webhooks.deliveries(session, webhook.id, limit=100)
    return tuple(sorted(found, key=lambda each: json.loads(each.body)["timestamp"]))


def told(sessions: Sessions, webhook: Webhook) -> list[str]:
    return [each.event for each in log(sessions, webhook)]


def take(sessions: Sessions, limit: int = 10, lease: float = 60.0) -> tuple[Outgoing, ...]:
    with sessions.begin() as session:
        return outbox.claim(session, limit=limit, lease_seconds=lease)


def note(sessions: Sessions, message: Outgoing, outcome: Outcome) -> str | None:
    with sessions.begin() as session:
        return outbox.note(session, message, outcome, luck=0.5)


def due(sessions: Sessions, webhook: Webhook) -> Outgoing:
    """A message that is due."""
    with sessions.begin() as session:
        webhooks.send_test(session, webhook.id)
    (message,) = take(sessions)
    return message


def make_due(sessions: Sessions) -> None:
    with sessions.begin() as session:
        session.execute(update(DeliveryRow).values(due_at=now(-1)))


def test_every_move_of_a_job_is_told(sessions: Sessions) -> None:
    webhook = hook(sessions)
    job = running(sessions)
    with sessions.begin() as session:
        expire(session, job.id)
    with sessions.begin() as session:
        jobs.reap(session, retry_delays=())
    with sessions.begin() as session:
        again = claimed(session)
    with sessions.begin() as session:
        jobs.finish(session, job.id, again.fence, {"made": "it"})
    assert told(sessions, webhook) == [
        "job.queued", "job.running", "job.queued", "job.running", "job.succeeded"
    ]  # fmt: skip
    body = json.loads(log(sessions, webhook)[-1].body)
    assert body["type"] == "job.succeeded"
    since = datetime.now(UTC) - datetime.fromisoformat(body["timestamp"])
    assert abs(since) < timedelta(minutes=5)
    assert body["data"] == {
        "id": str(job.id),
        "kind": "embed",
        "state": "succeeded",
        "attempt": 2,
        "reason": "finished",
        "parent_id": None,
        "dataset_id": None,
        "error_code": None,
        "error_message": None,
        "result": {"made": "it"},
        "links": {"self": f"/v1/jobs/{job.id}"},
    }


def test_a_search_is_told_as_such_too(sessions: Sessions) -> None:
    webhook = hook(sessions, EventType.SEARCH_FAILED, EventType.DATASET_REGISTERED)
    with sessions.begin() as session:
        of = dataset(session)
        dataset(session)  # known already
        search, job = searches.submit_search(session, SearchSpec(of.id, "oriented-energy@1"))
        jobs.claim(session, queue=QueueName.GPU, owner="w", lease_seconds=LEASE)
        jobs.fail(session, job.id, 1, "diverged", "x" * 100_000)
    assert told(sessions, webhook) == ["dataset.registered", "search.failed"]
    registered, failed = (json.loads(each.body)["data"] for each in log(sessions, webhook))
    assert (registered["id"], registered["name"]) == (str(of.id), of.name)
    assert (failed["id"], failed["job_id"]) == (str(search.id), str(job.id))
    assert failed["links"] == {"self": f"/v1/searches/{search.id}"}
    assert failed["error_code"] == "diverged"
    assert all(len(each.body.encode()) < 20 * 1024 for each in log(sessions, webhook))


def test_a_group_and_its_children_are_told(sessions: Sessions) -> None:
    webhook = hook(sessions, EventType.JOB_CANCELLED)
    with sessions.begin() as session:
        group = queued(session, kind=JobKind.GROUP)
        child = queued(session, parent_id=group.id)
        jobs.cancel(session, group.id)
    data = [json.loads(each.body)["data"] for each in log(sessions, webhook)]
    found = {(each["id"], each["parent_id"]) for each in data}
    assert found == {(str(group.id), None), (str(child.id), str(group.id))}


def test_what_did_not_happen_is_not_told(sessions: Sessions) -> None:
    webhook = hook(sessions)

    def fail() -> None:
        with sessions.begin() as session:
            queued(session)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    for _ in range(2):
        with sessions.begin() as session:
            idempotency.once(session, "a", asked=1, make=lambda: queued(session))
    assert told(sessions, webhook) == ["job.queued"]


def test_only_who_asked_is_told(sessions: Sessions) -> None:
    wants, other, off = hook(sessions), hook(sessions, EventType.JOB_FAILED), hook(sessions)
    with sessions.begin() as session:
        webhooks.change(session, off.id, enabled=False)
        queued(session)
    assert [len(told(sessions, each)) for each in (wants, other, off)] == [1, 0, 0]


def test_a_project_hears_of_its_own_alone(database_url: str) -> None:
    """Whoever moves the job: a request of the project, or the system's claims and sweeps."""
    system = Sessions(database_url)
    views = [system.within(each) for each in (DEFAULT, OTHER)]
    mine, others = (hook(each) for each in views)
    with views[0].begin() as session:
        job = queued(session)
    with system.begin() as session:
        assert claimed(session, lease=-1.0).id == job.id
    with system.begin() as session:
        jobs.reap(session, retry_delays=())
    assert told(views[0], mine) == ["job.queued", "job.running", "job.queued"]
    assert told(views[1], others) == []
    taken = {each.webhook_id for each in take(system)}
    assert taken == {mine.id}
    for view, webhook in zip(views, (others, mine), strict=True):
        with pytest.raises(NotFound), view.read() as session:
            webhooks.get(session, webhook.id)
    system.dispose()


def test_a_message_is_taken_by_one(sessions: Sessions) -> None:
    webhook = hook(sessions, EventType.JOB_QUEUED)
    with sessions.begin() as session:
        for _ in range(3):
            queued(session)
    with ThreadPoolExecutor(4) as pool:
        rounds = list(pool.map(lambda _: take(sessions, 1), range(4)))
    rounds += [take(sessions, 1) for _ in range(3)]  # whoever met another at it took nothing
    taken = [each for found in rounds for each in found]
    assert len({each.id for each in taken}) == len(taken) == 3
    assert {each.url for each in taken} == {webhook.url}
    assert take(sessions) == ()
    with sessions.read() as session:
        assert not outbox.any_due(session)


def test_whoever_dies_leaves_it_to_another(sessions: Sessions) -> None:
    """Under the same id; and the dead one, should it live, has no say any more."""
    webhook = hook(sessions)
    with sessions.begin() as session:
        webhooks.send_test(session, webhook.id)
    (first,) = take(sessions, lease=-1.0)
    (second,) = take(sessions)
    assert (first.message_id, first.attempt + 1) == (second.message_id, second.attempt)
    assert note(sessions, first, DONE) is None
    assert note(sessions, second, DONE) == "delivered"
    assert note(sessions, second, FAILED) is None
    (delivery,) = log(sessions, webhook)
    assert (delivery.state, delivery.attempts) == (DeliveryState.DELIVERED, (DONE.attempt,))
    assert delivery.due_at is None
    assert delivery.finished_at is not None


def test_a_slow_receiver_keeps_no_other_waiting(sessions: Sessions) -> None:
    slow = hook(sessions, EventType.JOB_QUEUED)
    quick = hook(sessions, EventType.DATASET_REGISTERED)
    with sessions.begin() as session:
        for _ in range(outbox.EACH + 3):
            queued(session)
        dataset(session)
    taken = [each.webhook_id for each in take(sessions, outbox.EACH + 2)]
    assert (taken.count(slow.id), taken.count(quick.id)) == (outbox.EACH, 1)


def test_a_project_s_backlog_keeps_no_other_waiting(database_url: str) -> None:
    system = Sessions(database_url)
    views = [system.within(each) for each in (DEFAULT, OTHER)]
    noisy = [hook(views[0], EventType.JOB_QUEUED) for _ in range(5)]
    quiet = hook(views[1], EventType.JOB_QUEUED)
    for view in views:
        with view.begin() as session:
            queued(session)
    taken = [each.webhook_id for each in take(system, 2)]
    assert taken.count(quiet.id) == 1
    assert {each.webhook_id for each in take(system)} < {each.id for each in noisy}
    system.dispose()


def test_a_backlog_is_no_turn_of_its_project(database_url: str) -> None:
    """Behind a receiver that is behind stands none of its project's others."""
    system = Sessions(database_url)
    views = [system.within(each) for each in (DEFAULT, OTHER)]
    slow, quick = (
        hook(views[0], EventType.JOB_QUEUED),
        hook(views[0], EventType.DATASET_REGISTERED),
    )
    others = [hook(views[1], EventType.JOB_QUEUED) for _ in range(outbox.EACH + 1)]
    with views[0].begin() as session:
        for _ in range(outbox.EACH + 20):
            queued(session)
        dataset(session)
    with views[1].begin() as session:
        for _ in range(outbox.EACH):
            queued(session)
    taken = [each.webhook_id for each in take(system, 2 * outbox.EACH + 2)]
    assert (taken.count(slow.id), taken.count(quick.id)) == (outbox.EACH, 1)
    assert len(set(taken) & {each.id for each in others}) > 0
    system.dispose()


def test_ten_attempts_and_no_more(sessions: Sessions) -> None:
    webhook = hook(sessions)
    message = due(sessions, webhook)
    for delay in DELAYS:
        assert note(sessions, message, FAILED) == "retried"
        (delivery,) = log(sessions, webhook)
        assert delivery.due_at is not None
        left = (delivery.due_at - datetime.now(UTC)).total_seconds()
        assert delay - 60 < left <= delay + 60
        assert take(sessions) == ()
        make_due(sessions)
        (message,) = take(sessions)
    assert note(sessions, message, FAILED) == "failed"
    (delivery,) = log(sessions, webhook)
    assert (delivery.state, len(delivery.attempts)) == (DeliveryState.FAILED, 10)
    make_due(sessions)
    assert take(sessions) == ()


def test_delays_are_spread_and_a_receiver_may_ask_for_more() -> None:
    for attempts, delay in enumerate(DELAYS, start=1):
        spans = [next_delay(attempts, luck=luck) for luck in (0.0, 0.5, 1.0)]
        assert spans == [0.5 * delay, delay, 1.5 * delay]
    assert next_delay(1, luck=0.0, asked=60) == 60
    assert next_delay(1, luck=0.0, asked=1e9) == 86_400
    assert next_delay(10, luck=0.0, asked=60) is None
    assert sum(DELAYS) / 86_400 == pytest.approx(3.15, abs=0.01)


def test_who_is_gone_is_told_no_more(sessions: Sessions) -> None:
    webhook = hook(sessions)
    message = due(sessions, webhook)
    with sessions.begin() as session:
        queued(session)
    assert note(sessions, message, GONE) == "failed"
    with sessions.begin() as session:
        found = webhooks.get(session, webhook.id)
        queued(session)
    assert (found.enabled, found.disabled_reason) == (False, DisabledReason.GONE)
    states = [each.state for each in log(sessions, webhook)]
    assert states == [DeliveryState.FAILED, DeliveryState.CANCELLED]
    assert take(sessions) == ()
    with pytest.raises(Conflict, match="disabled"), sessions.begin() as session:
        webhooks.send_test(session, webhook.id)


def test_five_days_of_failures_disable(sessions: Sessions) -> None:
    webhook = hook(sessions)
    for outcome, seconds, enabled in (
        (FAILED, 0.0, True),
        (FAILED, outbox.FAILING_SECONDS - 60, True),
        (DONE, outbox.FAILING_SECONDS + 60, True),
        (FAILED, 0.0, True),
        (FAILED, outbox.FAILING_SECONDS + 60, False),
    ):
        message = due(sessions, webhook)
        if seconds:
            with sessions.begin() as session:
                session.execute(update(WebhookRow).values(failing_since=now(-seconds)))
        note(sessions, message, outcome)
        with sessions.read() as session:
            found = webhooks.get(session, webhook.id)
        assert (found.enabled, found.failing_since is None) == (enabled, outcome is DONE)
    assert found.disabled_reason is DisabledReason.FAILING
    with sessions.begin() as session:
        found = webhooks.change(session, webhook.id, enabled=True)
    assert (found.disabled_reason, found.failing_since) == (None, None)


def test_a_key_that_is_missing_here_disables_nobody(sessions: Sessions) -> None:
    webhook = hook(sessions)
    sealed = Outcome(Attempt(datetime.now(UTC), 0.0, None, Fault.SEALED))
    note(sessions, due(sessions, webhook), sealed)
    with sessions.read() as session:
        found = webhooks.get(session, webhook.id)
    assert (found.enabled, found.failing_since) == (True, None)


def test_a_message_is_sent_once_more_under_its_id(sessions: Sessions) -> None:
    webhook = hook(sessions)
    message = due(sessions, webhook)
    note(sessions, message, DONE)
    with sessions.begin() as session:
        again = webhooks.redeliver(session, webhook.id, message.id)
    (other,) = take(sessions)
    assert (other.id, other.message_id, other.body) == (again.id, message.message_id, message.body)
    assert sorted(len(each.attempts) for each in log(sessions, webhook)) == [0, 1]


def test_the_secret_before_counts_for_a_day(sessions: Sessions) -> None:
    with sessions.begin() as session:
        webhook, first = webhooks.create(
            session, url=URL, events=[EventType.JOB_FAILED], description="", seal=SEAL
        )
    assert len(due(sessions, webhook).secrets) == 1
    with sessions.begin() as session:
        rotated, second = webhooks.rotate(session, webhook.id, seal=SEAL)
    assert rotated.old_secret_until is not None
    opened = [SEAL.open(each) for each in due(sessions, webhook).secrets]
    assert len(set(opened)) == 2
    assert first != second
    with sessions.begin() as session:
        session.execute(update(WebhookRow).values(old_secret_until=now(-1)))
    assert [SEAL.open(each) for each in due(sessions, webhook).secrets] == opened[:1]


def test_a_copy_of_the_database_opens_nothing(sessions: Sessions) -> None:
    with sessions.begin() as session:
        webhook, first = webhooks.create(
            session, url=URL, events=[EventType.JOB_FAILED], description="", seal=SEAL
        )
        second = webhooks.rotate(session, webhook.id, seal=SEAL)[1]
    due(sessions, webhook)
    kept = dump(sessions)
    assert URL in kept
    for secret in (first, second):
        assert secret.startswith("whsec_")
        assert secret.removeprefix("whsec_").rstrip("=") not in kept
    assert "whsec_" not in kept


def dump(sessions: Sessions) -> str:
    """Every row of every table."""
    with sessions.connect() as connection:
        names = inspect(connection).get_table_names()
        return repr([connection.execute(text(f'SELECT * FROM "{each}"')).all() for each in names])


def test_a_webhook_takes_its_log_along(sessions: Sessions) -> None:
    webhook = hook(sessions)
    message = due(sessions, webhook)
    with sessions.begin() as session:
        webhooks.drop(session, webhook.id)
    assert note(sessions, message, DONE) is None
    with sessions.read() as session:
        assert session.scalars(select(DeliveryRow)).all() == []
        with pytest.raises(NotFound):
            webhooks.get(session, webhook.id)


def test_a_move_outruns_the_deletion_of_a_webhook(sessions: Sessions) -> None:
    """Neither makes the other fail: a job ends, whoever stops listening to it."""
    webhook = hook(sessions)

    def delete(_: int) -> None:
        with sessions.begin() as session:
            webhooks.drop(session, webhook.id)

    with ThreadPoolExecutor(1) as pool:
        with sessions.begin() as session:
            job = queued(session)
            deletion = pool.submit(delete, 0)
        deletion.result()
    with sessions.read() as session:
        assert jobs.get(session, job.id).id == job.id
        assert session.scalars(select(DeliveryRow)).all() == []


def test_there_are_only_so_many(sessions: Sessions) -> None:
    for _ in range(webhooks.MOST):
        hook(sessions)
    with pytest.raises(Conflict) as refused:
        hook(sessions)
    assert refused.value.stable_code == "too_many_webhooks"


def test_old_messages_are_forgotten(sessions: Sessions) -> None:
    webhook = hook(sessions)
    due(sessions, webhook)
    with sessions.begin() as session:
        outbox.forget(session)
    assert len(log(sessions, webhook)) == 1
    with sessions.begin() as session:
        session.execute(update(DeliveryRow).values(created_at=now(-outbox.KEPT_SECONDS - 60)))
        outbox.forget(session)
    assert log(sessions, webhook) == ()


def test_a_delivery_is_that_of_its_webhook(sessions: Sessions) -> None:
    one, other = hook(sessions), hook(sessions)
    message = due(sessions, one)
    with sessions.read() as session:
        assert webhooks.delivery(session, one.id, message.id).id == message.id
        for webhook_id, delivery_id in ((other.id, message.id), (one.id, UUID(int=7))):
            with pytest.raises(NotFound):
                webhooks.delivery(session, webhook_id, delivery_id)
