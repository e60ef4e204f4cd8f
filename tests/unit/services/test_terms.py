"""On what terms a search is asked for: by when, within what, and under which names."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from core.db.job_tables import JobRow
from core.db.sessions import Sessions
from core.domain.jobs import JobState, QueueName
from core.domain.searches import Budget, SearchSpec
from core.domain.work import SearchInputs
from core.errors import DeadlinePassed, InvalidInput
from core.services import jobs, searches, work
from tests.unit.services.samples import EMBEDDER, dataset


def soon(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def asked(sessions: Sessions, name: str = "digits", **terms: Any) -> UUID:
    with sessions.begin() as session:
        spec = SearchSpec(dataset(session, name).id, EMBEDDER, **terms)
        return searches.submit_search(session, spec)[1].id


def late(sessions: Sessions, job_id: UUID) -> None:
    """Let the job's deadline be long ago."""
    with sessions.begin() as session:
        row = session.get_one(JobRow, job_id)
        row.spec = {**row.spec, "deadline": "2020-01-01T00:00:00Z"}


def test_a_job_that_waited_past_its_deadline_has_failed(sessions: Sessions) -> None:
    missed, other = asked(sessions, deadline=soon(3600)), asked(sessions, "other")
    near = asked(sessions, "near", deadline=soon(3600))
    late(sessions, missed)
    with sessions.begin() as session:
        jobs.reap(session, retry_delays=())
    with sessions.read() as session:
        job = jobs.get(session, missed)
        assert (job.state, job.error_code) == (JobState.FAILED, "deadline_passed")
        assert jobs.events(session, missed)[-1].reason == "deadline_passed"
        assert {jobs.get(session, each).state for each in (other, near)} == {JobState.QUEUED}


def test_one_that_begins_has_the_seconds_until_then(sessions: Sessions) -> None:
    job_id = asked(sessions, deadline=soon(3600))
    with sessions.begin() as session:
        job = jobs.claim(session, queue=QueueName.GPU, owner="w", lease_seconds=60)
        assert job is not None
        inputs = work.inputs(session, job)
        assert isinstance(inputs, SearchInputs)
        assert inputs.until is not None
        assert 3000 < inputs.until <= 3601
    late(sessions, job_id)
    with sessions.begin() as session, pytest.raises(DeadlinePassed):
        work.inputs(session, jobs.get(session, job_id))


@pytest.mark.parametrize(
    ("terms", "place"),
    [
        ({"budget": Budget(seconds=1.0)}, "budget.seconds"),
        ({"budget": Budget(epochs=2), "learning_rates": (0.1, 0.05)}, "budget.epochs"),
        ({"deadline": datetime(2020, 1, 1, tzinfo=UTC)}, "deadline"),
        ({"deadline": datetime.now(UTC) + timedelta(seconds=3)}, "deadline"),
    ],
)
def test_what_is_too_little_is_told(sessions: Sessions, terms: dict[str, Any], place: str) -> None:
    with pytest.raises(InvalidInput, match="It takes") as caught:
        asked(sessions, **terms)
    assert caught.value.stable_code == "budget_too_small"
    assert caught.value.details[0].place == place


def test_what_is_enough_is_taken(sessions: Sessions) -> None:
    asked(sessions, budget=Budget(seconds=1e5, gpu_seconds=0.1, epochs=2))  # there is no GPU


def test_searches_and_jobs_are_found_by_their_labels(sessions: Sessions) -> None:
    one = asked(sessions, labels={"team": "forms", "run": "7"})
    two = asked(sessions, "two", labels={"team": "forms", "a.b/c-d": "é: 100%"})
    asked(sessions, "three")

    def found(**labels: str) -> set[UUID]:
        with sessions.read() as session:
            listed, _ = jobs.listing(session, limit=10, labels=labels)
            shown, _ = searches.listing(session, limit=10, labels=labels)
        assert {each.job_id for each in shown} == {each.id for each in listed}
        return {each.id for each in listed}

    assert found(team="forms") == {one, two}
    assert found(team="forms", run="7") == {one}
    assert found(**{"a.b/c-d": "é: 100%"}) == {two}
    assert found(team="form") == found(other="forms") == set()
