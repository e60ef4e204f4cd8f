"""What later searches are told of earlier races: leads over cold, of others, comparable ones."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import update

from core.db.result_tables import SearchRow
from core.db.sessions import Sessions
from core.domain.datasets import DatasetId
from core.domain.jobs import QueueName
from core.domain.races import Lead, PastRace
from core.domain.searches import Search, SearchSpec, StartPolicy
from core.domain.supernets import SupernetId
from core.domain.work import SearchInputs
from core.services import jobs, races, searches, wire, work
from tests.unit.services.samples import EMBEDDER, dataset

NEAR, ZOO = SupernetId(UUID(int=1)), SupernetId(UUID(int=2))


def contestant(
    supernet_id: UUID | None,
    accuracy: float | None,
    *,
    distance: float | None = None,
) -> dict[str, Any]:
    rungs = [{"epochs": 0, "valid_accuracy": accuracy}]
    later = {"epochs": 1, "valid_accuracy": 0.99}  # says nothing of the start
    named = None if supernet_id is None else str(supernet_id)
    return {"supernet_id": named, "distance": distance, "rungs": [*rungs, later]}


def race(*contestants: Mapping[str, Any]) -> dict[str, Any]:
    return {"race": {"contestants": list(contestants)}}


WON = race(
    contestant(NEAR, 0.875, distance=1.5), contestant(ZOO, 0.75), contestant(None, 0.5)
)  # fmt: skip


def ended(sessions: Sessions, name: str, start: Any, **changes: Any) -> Search:
    """A search on a dataset of that name, with this start."""
    with sessions.begin() as session:
        spec = SearchSpec(dataset(session, name).id, changes.pop("embedder", EMBEDDER), **changes)
        search, _ = searches.submit_search(session, spec)
        session.execute(update(SearchRow).where(SearchRow.id == search.id).values(start=start))
    return search


def asked(sessions: Sessions, **changes: Any) -> tuple[PastRace, ...]:
    with sessions.read() as session:
        return races.past(session, SearchSpec(DatasetId(uuid4()), EMBEDDER, **changes))


def test_leads_are_over_cold_before_any_step(sessions: Sessions) -> None:
    search = ended(sessions, "earlier", WON)
    leads = Lead(NEAR, 1.5, 37.5), Lead(ZOO, None, 25.0)
    assert asked(sessions) == (PastRace(search.id, search.dataset_id, leads),)


def test_who_could_not_run_is_left_out(sessions: Sessions) -> None:
    broken, cold = contestant(ZOO, None), contestant(None, 0.5)
    ended(sessions, "earlier", race(contestant(NEAR, 1.0, distance=2.0), broken, cold))
    (past,) = asked(sessions)
    assert past.leads == (Lead(NEAR, 2.0, 50.0),)


@pytest.mark.parametrize(
    ("start", "changes"),
    [
        (None, {}),  # still running, or failed
        ({"race": None}, {}),
        ({"supernet_id": None}, {}),
        (race(contestant(NEAR, 0.5), contestant(None, None)), {}),
        (race(contestant(None, 0.5)), {}),
        (WON, {"embedder": "other"}),
        (WON, {"adapt": True}),
    ],
)
def test_what_cannot_be_compared_is_not_told(
    sessions: Sessions, start: Any, changes: dict[str, Any]
) -> None:
    ended(sessions, "earlier", start, **changes)
    assert asked(sessions) == ()


def test_newest_first_and_no_more_than_asked_for(sessions: Sessions) -> None:
    made = [ended(sessions, f"earlier {number}", WON) for number in range(3)]
    spec = SearchSpec(DatasetId(uuid4()), EMBEDDER)
    with sessions.read() as session:
        found = races.past(session, spec, newest=2)
    assert len(found) == 2
    assert {each.search_id for each in found} <= {each.id for each in made}


def test_a_race_is_given_the_history_of_others_and_never_its_own(sessions: Sessions) -> None:
    other = ended(sessions, "other", WON)
    own = ended(sessions, "own", WON)
    given = {}
    for policy in (StartPolicy.RACE, StartPolicy.NEAREST):
        with sessions.begin() as session:
            spec = SearchSpec(own.dataset_id, EMBEDDER, policy)
            _, job = searches.submit_search(session, spec)
            for _ in range(4):
                claimed = jobs.claim(session, queue=QueueName.GPU, owner="w", lease_seconds=60.0)
                if claimed is not None and claimed.id == job.id:
                    given[policy] = work.inputs(session, claimed)
    raced, nearest = given[StartPolicy.RACE], given[StartPolicy.NEAREST]
    assert isinstance(raced, SearchInputs)
    assert isinstance(nearest, SearchInputs)
    assert [each.search_id for each in raced.history] == [other.id]
    assert nearest.history == ()
    assert wire.load(SearchInputs, wire.dump(raced)) == raced
