"""Who is entered in a race: the nearest, until earlier searches know better."""

import random
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from core.domain.datasets import Dataset, DatasetId, DatasetReport, Embedding, Neighbour, Ranking
from core.domain.identity import DEFAULT
from core.domain.races import Lead, PastRace
from core.domain.searches import SearchId, SearchSpec, StartPolicy
from core.domain.supernets import SupernetId
from core.domain.work import SearchInputs, Source, StartingPoint
from core.ot.expected_lead import FEWEST
from core.pipelines import expectations, racing, starts
from core.pipelines.origins import Origin
from core.pipelines.racing import Raced

SPACE = {"channels": 2, "layers": 3, "nodes": 2, "input_channels": 3}
REPORT = DatasetReport((), 4, 4, 0, "made", 0, {}, {})
ZOO = StartingPoint(SupernetId(UUID(int=9)), "zoo", SPACE, 16, "zoo", "0" * 64)


def source(number: int) -> Source:
    made = SupernetId(UUID(int=number))
    supernet = StartingPoint(made, f"net {number}", SPACE, 16, f"{number}", "0" * 64)
    seen = Embedding(DatasetId(UUID(int=number)), "e@1", "k", "0" * 64, 4, 4, 0.0)
    return Source(seen.dataset_id, f"data {number}", ("a", "b"), seen, supernet=supernet)


def past(targets: int) -> tuple[PastRace, ...]:
    """Nearness counts; beside it the second source is worth 10 points more than the others."""
    dice = random.Random(4)
    found = []
    for target in range(targets):
        leads = [
            Lead(each.supernet.id, distance, 10 - 4 * distance + 10 * (number == 1) + noise)
            for number, each in enumerate(map(source, range(1, 5)))
            if each.supernet is not None
            for distance, noise in [(dice.uniform(0, 2), dice.gauss(0, 1))]
        ]
        leads.append(Lead(ZOO.id, None, 5 + dice.gauss(0, 1)))
        found.append(PastRace(SearchId(uuid4()), DatasetId(UUID(int=100 + target)), tuple(leads)))
    return tuple(found)


def given(history: tuple[PastRace, ...], policy: StartPolicy = StartPolicy.RACE) -> SearchInputs:
    target = Dataset(
        DatasetId(uuid4()), DEFAULT, "0" * 64, "target", ("a", "b"), (2, 2), (1, 1), 3, REPORT,
        datetime.now(UTC),
    )  # fmt: skip
    spec = SearchSpec(target.id, "e@1", policy)
    near = tuple(source(number) for number in (1, 3, 2))
    return SearchInputs(spec, target, None, near, shared=(ZOO,), history=history)


def ranking(inputs: SearchInputs) -> Ranking:
    """The first source is nearest, the second farthest."""
    found = [
        Neighbour(
            each.dataset_id, each.dataset_name, None, distance, (distance, distance), False,
            0.5, 0.5, (),
        )
        for each, distance in zip(inputs.sources, (0.5, 0.6, 0.9), strict=True)
    ]  # fmt: skip
    return Ranking(inputs.dataset.id, "e@1", tuple(found), 0.0, {})


@pytest.fixture
def entered(monkeypatch: pytest.MonkeyPatch) -> list[Origin]:
    """Who runs in the race, which the first wins at once."""
    ran: list[Origin] = []

    def run(sources: Any, inputs: Any, context: Any, *, most: int, meter: Any) -> Raced:
        ran.extend(sources)
        assert len(ran) == most
        return Raced(ran[0], "it was first", {"contestants": [], "seconds": 1.0}, None)

    monkeypatch.setattr(racing, "run", run)
    monkeypatch.setattr(starts, "_ranked", lambda inputs, context, at=0.0: (ranking(inputs), None))
    return ran


def names(origins: list[Origin]) -> list[str]:
    return [each.supernet.name for each in origins if each.supernet is not None]


def test_without_history_enough_the_nearest_run(entered: list[Origin]) -> None:
    found = starts.decide(given(past(FEWEST - 1)), None, total=1.0)  # type: ignore[arg-type]
    assert names(entered) == ["zoo", "net 1", "net 3"]
    assert found.start["expected"] == {
        "proven": False,
        "datasets": FEWEST - 1,
        "datasets_needed": FEWEST,
        "searches": FEWEST - 1,
        "sources": [],
    }


def test_with_history_the_likeliest_run(entered: list[Origin]) -> None:
    found = starts.decide(given(past(30)), None, total=1.0)  # type: ignore[arg-type]
    assert names(entered) == ["zoo", "net 2", "net 1"]
    expected = found.start["expected"]
    assert (expected["proven"], expected["datasets"], expected["searches"]) == (True, 30, 30)
    assert [each["name"] for each in expected["sources"]] == ["net 2", "net 1", "zoo"]
    best, nearest, zoo = expected["sources"]
    assert best["lead"] == pytest.approx(20 - 4 * 0.9, abs=2)
    assert nearest["lead"] == pytest.approx(10 - 4 * 0.5, abs=2)
    assert zoo["lead"] == pytest.approx(5, abs=1)
    for each in expected["sources"]:
        low, high = each["interval"]
        assert low < each["lead"] < high


def test_the_nearest_policy_keeps_to_its_word(entered: list[Origin]) -> None:
    inputs = given(past(30), StartPolicy.NEAREST)
    found = starts.decide(inputs, None, total=1.0)  # type: ignore[arg-type]
    assert (found.start["supernet_name"], found.start["expected"]) == ("net 1", None)


def test_a_dataset_searched_often_is_one_dataset() -> None:
    (once,) = past(1)
    often = tuple(replace(once, search_id=SearchId(uuid4())) for _ in range(40))
    learned = expectations.learned(given(often))
    assert (learned.searches, learned.forecast.targets) == (40, 1)
    assert not learned.forecast.proven
