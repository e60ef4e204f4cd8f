"""Work spread over threads gives what it gives in a row."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from core.ot.cores import spread
from core.ot.dataset_distance import otdd
from tests.unit.ot.registries import rank_named, shifted


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_results_come_in_order_from_more_than_one_thread() -> None:
    meeting = threading.Barrier(2, timeout=20)  # passed only if two run at once

    def square(value: int) -> int:
        meeting.wait()
        return value * value

    assert list(spread(square, range(6))) == [0, 1, 4, 9, 16, 25]


@pytest.mark.usefixtures("two_threads")
def test_what_is_spread_already_is_not_spread_again() -> None:
    def threads(_: int) -> set[int]:
        return set(spread(lambda _: threading.get_ident(), range(4)))

    assert all(len(inner) == 1 for inner in spread(threads, range(3)))


@pytest.mark.usefixtures("two_threads")
def test_an_error_is_raised_and_what_has_not_begun_is_dropped() -> None:
    begun = []

    def fail(value: int) -> None:
        begun.append(value)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        list(spread(fail, range(10_000)))
    assert len(begun) < 10_000


def test_a_ranking_does_not_depend_on_the_number_of_threads() -> None:
    sources = {f"{at}": shifted(at / 4, seed=at) for at in range(8)}
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            order, names = rank_named(shifted(0.1, seed=50), sources, k=3)
            found.append((names, [each.distance for each in order.neighbours], order.proven))
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1] == found[2]
    assert found[0][1][0] == otdd(shifted(0.1, seed=50), sources[found[0][0][0]]).distance
