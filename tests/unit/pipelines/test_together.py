"""What the first of a job's processes does for all; here each process is a thread."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

import pytest
from torch import Tensor

from core.domain.datasets import Dataset
from core.domain.searches import Selection, StartPolicy
from core.errors import InvalidInput
from core.nas.ranks import Ranks
from core.pipelines import notes, search_architecture, together
from core.pipelines.context import Restored, Stopped
from core.pipelines.notes import Notes
from tests.unit.pipelines.conftest import World
from tests.unit.pipelines.test_jobs import TRAINING, search_inputs, several

T = TypeVar("T")


class Thread(Ranks):
    """One of two; what the first gives is handed over."""

    size = 2

    def __init__(self, rank: int, given: "SimpleQueue[Tensor]") -> None:
        self.rank, self._given = rank, given

    def of_first(self, values: Tensor) -> Tensor:
        if self.rank:
            return self._given.get(timeout=30)
        self._given.put(values.clone())
        return values


def both(world: World, work: Callable[[World], T]) -> tuple[T, T]:
    """What it is in the first and in the second, which begins before it."""
    given: SimpleQueue[Tensor] = SimpleQueue()
    first, second = (replace(world, ranks=Thread(rank, given)) for rank in (0, 1))
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(work, second)
        return work(first), other.result(timeout=30)


def test_the_first_makes_a_file_for_all(world: World) -> None:
    made = []

    def make() -> Path | None:
        made.append(1)
        return Path("/a/b c/ü.txt") if len(made) == 1 else None

    for expected in (Path("/a/b c/ü.txt"), None):
        assert both(world, lambda one: together.file_of_first(one, make)) == (expected,) * 2
    assert len(made) == 2
    assert together.file_of_first(world, lambda: Path("own")) == Path("own")


def test_all_go_on_from_the_checkpoint_that_the_first_has_found(world: World) -> None:
    class Found(World):
        def restore(self) -> Restored | None:
            assert self.ranks.rank == 0
            return Restored(3, self.scratch / "newest")

    found = Found(world.store, world.scratch, world.kept, world.cache)
    assert both(found, together.restored) == (world.scratch / "newest",) * 2
    assert both(world, lambda one: one.ranks.rank or together.restored(one)) == (None, 1)


def test_the_others_come_after_the_first(world: World) -> None:
    order: list[int] = []
    both(world, lambda one: together.after_first(one, lambda: order.append(one.ranks.rank)))
    assert order == [0, 1]


def test_the_others_read_the_notes_of_the_first(world: World) -> None:
    def make() -> Notes:
        return Notes(None, None, {"by": "the first"}, step=7, seconds={"start": 0.1})

    first, second = both(world, lambda one: notes.of_first(one, make))
    assert first == second == make()
    assert notes.of_first(world, make) == make()


def test_only_the_others_leave_to_the_first(world: World) -> None:
    together.leave_to_first(world)
    second = replace(world, ranks=Thread(1, SimpleQueue()))
    with pytest.raises(Stopped):
        together.leave_to_first(second)


def test_several_datasets_are_the_first_ones_alone(
    world: World, registered: Callable[..., Dataset]
) -> None:
    datasets = registered("stripes", seed=1), registered("fewer", classes=2, seed=2)
    with pytest.raises(Stopped):
        several(replace(world, ranks=Thread(1, SimpleQueue())), *datasets)
    assert not world.records


def test_images_that_do_not_go_round_are_refused(
    world: World, registered: Callable[..., Dataset]
) -> None:
    first = replace(world, ranks=Thread(0, SimpleQueue()))
    inputs = search_inputs(
        registered("stripes"),
        policy=StartPolicy.COLD,
        training=replace(TRAINING, batch_size=3),
        selection=Selection.MAGNITUDE,
    )
    with pytest.raises(InvalidInput, match="3 images for 2 processes; give at least 4"):
        search_architecture.run(inputs, first)
