"""Budgets: a search ends early enough for its retraining, and the whole stays within them."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest

from core.domain.datasets import Dataset, DatasetId
from core.domain.effort import SPENT
from core.domain.jobs import JobRecord, Progress
from core.domain.searches import Budget, SearchSpec, SpaceSpec, StartPolicy, Training
from core.domain.work import SearchInputs
from core.errors import AppError
from core.nas.cost_model import Shape
from core.nas.network import Network
from core.pipelines import derivation, search_architecture, spending
from core.pipelines.bilevel import Course, stage
from core.pipelines.context import Stopped
from core.pipelines.notes import Notes
from core.pipelines.search_architecture import Desk
from core.pipelines.spending import Purse
from tests.unit.pipelines.conftest import World, apart

EMBEDDER = "oriented-energy@1"
Register = Callable[..., Dataset]


@dataclass
class Timed(World):
    """A world in which the clock jumps when so many lines were reported."""

    jumps: int = 0
    to: float = 0.0

    def report(self, progress: Progress, record: JobRecord | None = None) -> None:
        super().report(progress, record)
        if len(self.records) >= self.jumps:
            self.spent = self.to


@dataclass
class Listening(World):
    """A world that remembers what was told of each stage, with a line or without, once."""

    heard: dict[tuple[str, bool], None] = field(default_factory=dict)

    def report(self, progress: Progress, record: JobRecord | None = None) -> None:
        super().report(progress, record)
        self.heard[progress.stage, record is not None] = None


@pytest.fixture(autouse=True)
def _nothing_is_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a search has done is told by its notes, without the seconds that files take."""

    def told(desk: Desk, _network: Network) -> Notes:
        return desk.notes

    monkeypatch.setattr(search_architecture, "_export", told)
    monkeypatch.setattr(Shape, "epoch", lambda _shape: math.inf)


def search(inputs: SearchInputs, context: World) -> Notes:
    return cast(Notes, search_architecture.run(inputs, context))


def asked(dataset: Dataset, **changes: Any) -> SearchInputs:
    spec = SearchSpec(
        dataset.id, EMBEDDER, StartPolicy.COLD, patience=0, retrain_epochs=4,
        space=SpaceSpec(channels=2, layers=3, nodes=1, resolution=16),
        training=Training(epochs=200, batch_size=16),
    )  # fmt: skip
    return SearchInputs(replace(spec, **changes), dataset, None, ())


def epochs(found: Notes) -> tuple[int, int]:
    """Of the searches together, and of the retraining."""
    return sum(len(arm["history"]) - 1 for arm in found.arms), len(found.live_history) - 1


def test_a_search_leaves_its_retraining_what_it_needs(world: World, registered: Register) -> None:
    inputs = asked(registered("target"), budget=Budget(seconds=1e6))
    # When three lines were told there is time for the files alone.
    late = 1e6 - derivation.EXPORT_SECONDS - 1e-6
    other = apart(world, "timed")
    context = Timed(*(other.store, other.scratch, other.kept, other.cache), jumps=3, to=late)
    found = search(inputs, context)
    assert epochs(found) == (3, 1)
    assert found.arms[0]["history"][-1]["stopped"] == SPENT
    assert context.records[3].values["stopped"] == SPENT


def test_epochs_are_counted_together(world: World, registered: Register) -> None:
    inputs = asked(registered("target"), budget=Budget(epochs=6), learning_rates=(0.1, 0.05))
    assert epochs(search(inputs, world)) == (2, 4)


def test_a_stage_is_told_before_its_first_line(world: World, registered: Register) -> None:
    context = Listening(world.store, world.scratch, world.kept, world.cache)
    search(asked(registered("target"), budget=Budget(epochs=2)), context)
    told = [each for each in context.heard if each[0] in {"start", stage(0), derivation.STAGE}]
    assert told == [
        ("start", False),
        (stage(0), False),
        (stage(0), True),
        (derivation.STAGE, False),
        (derivation.STAGE, True),
    ]


@pytest.mark.parametrize(("device", "seconds"), [("cuda", 15), ("cuda:1", 15), ("cpu", math.inf)])
def test_the_seconds_of_gpus_are_shared_by_the_processes(
    world: World, registered: Register, device: str, seconds: float
) -> None:
    inputs = asked(registered("target"), budget=Budget(gpu_seconds=60))
    four = replace(world, device=device, ranks=cast(Any, SimpleNamespace(size=4)))
    assert spending.purse(inputs, four).limit == seconds
    less = replace(inputs, spec=replace(inputs.spec, budget=Budget(seconds=9, gpu_seconds=60)))
    assert spending.purse(less, four).limit == 9


def test_what_earlier_attempts_took_counts(world: World, registered: Register) -> None:
    inputs = asked(registered("target"), budget=Budget(seconds=60))
    with pytest.raises(Stopped):
        search(inputs, replace(world, stop_after=3))
    late = replace(apart(world, "late"), spent=61.0)
    with pytest.raises(AppError, match="spent its budget") as caught:
        search(inputs, late)
    assert caught.value.stable_code == spending.EXHAUSTED
    # One second before the files have to be written: no epoch more, and one of retraining.
    again = replace(world, attempt="2", spent=60 - derivation.EXPORT_SECONDS)
    assert epochs(search(inputs, again)) == (2, 1)


def test_a_plan_is_made_anew_when_seconds_were_lost(world: World, registered: Register) -> None:
    inputs = asked(
        registered("target"), budget=Budget(seconds=1e6), training=Training(epochs=1),
        retrain_epochs=60,
    )  # fmt: skip
    with pytest.raises(Stopped):  # two lines of the search, three of the retraining
        search(inputs, replace(world, stop_after=5))
    again = replace(world, attempt="2", spent=1e6 - derivation.EXPORT_SECONDS)
    assert epochs(search(inputs, again)) == (1, 2)


@pytest.mark.parametrize(
    ("most", "arms", "expected"),
    [(100, 1, (20, 20)), (30, 1, (10, 20)), (21, 1, (1, 20)), (10, 1, (1, 9)), (2, 1, (1, 1)),
     (30, 2, (5, 20)), (3, 2, (1, 1)), (31, 2, (5, 20))],
)  # fmt: skip
def test_retraining_comes_first(most: int, arms: int, expected: tuple[int, int]) -> None:
    rates = tuple(0.1 / (n + 1) for n in range(arms))
    budget = Budget(epochs=most)
    spec = SearchSpec(DatasetId(uuid4()), EMBEDDER, learning_rates=rates, budget=budget)
    capped = spec.capped
    assert (capped.training.epochs, capped.retrain_epochs) == expected
    # What a search saves by its early end, retraining may have: within the budget.
    arm: dict[str, list[dict[str, float]]] = {"history": [{}, {}]}
    extended = derivation.extended(capped, [arm] * arms)
    last = spending.of_retraining(Purse(cast(World, None), math.inf), extended, [arm] * arms)
    assert arms + last.retrain_epochs <= most
    assert last.retrain_epochs >= capped.retrain_epochs


@pytest.mark.parametrize(
    ("seconds", "arms", "expected"),
    [(100.0, 1, False), (7.5, 1, False), (6.5, 1, True), (7.5, 2, True), (14.5, 2, False)],
)
def test_searches_share_what_is_left(
    world: World, seconds: float, arms: int, expected: bool
) -> None:
    spec = SearchSpec(DatasetId(uuid4()), EMBEDDER, retrain_epochs=4)
    kept = spending.kept(Purse(world, 0.0), spec, 2.0)
    assert derivation.EXPORT_SECONDS + 3 < kept < derivation.EXPORT_SECONDS + 6
    # Two and a half seconds were spent on it, and another epoch takes two.
    course = cast(Course, SimpleNamespace(history=[{"seconds": 0.5}, {"seconds": 2.0}]))
    purse = Purse(world, kept + seconds - 5.0)
    assert spending.over(purse, spec, course, arms=arms) is expected


def test_more_is_kept_for_the_files_on_a_machine_that_others_use(world: World) -> None:
    alone, crowded = Purse(world, 0.0, 4.0), Purse(world, 0.0, 0.5)
    assert alone.files(2.0) == derivation.EXPORT_SECONDS
    assert crowded.files(2.0) == 4 * derivation.EXPORT_SECONDS


def test_the_deadline_is_a_budget_too(world: World, registered: Register) -> None:
    inputs = asked(registered("target"), budget=Budget(seconds=50, gpu_seconds=1))
    assert spending.purse(inputs, world).limit == 50  # there is no GPU here
    assert spending.purse(replace(inputs, until=20.0), world).limit == 20
    free = replace(inputs, spec=replace(inputs.spec, budget=Budget()))
    assert spending.purse(free, world).left == math.inf
