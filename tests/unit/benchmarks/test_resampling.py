"""Statistics of censored, paired results against what can be computed otherwise."""

import math
import random
from collections.abc import Sequence
from statistics import fmean, median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.benchmarks.transfer.resampling import (
    censored_median,
    held,
    interval,
    mean_held,
    ratio,
    spearman,
)

finite = st.floats(-100, 100)


def test_never_is_the_slowest() -> None:
    assert ratio(3.0, 1.5) == 2.0
    assert ratio(3.0, None) == 0.0
    assert ratio(3.0, 1e9) > ratio(3.0, None)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=9))
def test_the_median_is_the_common_one_where_nothing_is_censored(values: list[float]) -> None:
    assert censored_median(values) == median(values)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, None, 2.0], 2.0),
        ([None, None, 2.0], None),
        ([1.0, None], None),  # between one that is and one that never is
        ([1.0, 3.0, None, None, 2.0], 3.0),
    ],
)
def test_never_is_later_than_all(values: list[float | None], expected: float | None) -> None:
    assert censored_median(values) == expected


def test_an_interval_of_equal_results_is_a_point() -> None:
    assert interval([[2.0, 2.0], [2.0]], fmean) == (2.0, 2.0)


def test_one_target_tells_nothing_of_another() -> None:
    assert interval([[1.0, 2.0, 3.0]], fmean) is None
    assert interval([[1.0, 2.0, 3.0], []], fmean) is None


def test_intervals_repeat() -> None:
    generator = random.Random(0)
    groups = [[generator.random() for _ in range(3)] for _ in range(9)]
    assert interval(groups, fmean) == interval(groups, fmean)
    assert interval(groups, fmean, seed=1) != interval(groups, fmean, seed=2)


def test_seeds_are_no_substitute_for_targets() -> None:
    """Two targets that differ give a wide interval, however many seeds agree in each."""
    low, high = interval([[0.0] * 50, [1.0] * 50], fmean) or (math.nan, math.nan)
    assert (low, high) == (0.0, 1.0)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    generator, covered, trials = random.Random(0), 0, 100
    for _ in range(trials):
        centres = [generator.gauss(0, 1) for _ in range(15)]
        groups = [[generator.gauss(centre, 0.5) for _ in range(3)] for centre in centres]
        low, high = interval(groups, fmean, draws=200) or (math.nan, math.nan)
        covered += low <= 0 <= high
    assert 0.85 * trials <= covered <= trials


def test_a_draw_without_a_value_is_left_out() -> None:
    def first_if_varied(values: Sequence[float]) -> float | None:
        return values[0] if len(set(values)) > 1 else None

    assert interval([[1.0], [2.0]], first_if_varied) == (1.0, 2.0)
    assert interval([[1.0], [1.0]], first_if_varied) is None


def test_ranks_alone_correlate() -> None:
    assert spearman([(1, 10), (2, 100), (3, 1000)]) == pytest.approx(1)
    assert spearman([(1, -1), (2, -4), (3, -9)]) == pytest.approx(-1)
    assert spearman([(1, 5), (2, 5)]) is None


def test_a_staircase_holds_its_latest_value() -> None:
    times, values = [1.0, 2.0], [0.5, 0.9]
    assert [held(times, values, at, 0.1) for at in (0, 1, 1.5, 2, 9)] == [0.1, 0.5, 0.5, 0.9, 0.9]


@given(
    st.lists(
        st.tuples(st.floats(0, 10), finite), min_size=1, max_size=6, unique_by=lambda p: p[0]
    ),
    st.floats(0.5, 12),
)
def test_the_mean_of_a_staircase_is_its_area(steps: list[tuple[float, float]], end: float) -> None:
    times, values = zip(*sorted(steps), strict=True)
    area, right = 0.0, end  # from the last step back, each as wide as what is left of it
    for time, value in reversed(list(zip(times, values, strict=True))):
        width = max(0.0, right - time)
        area += width * value
        right -= width
    assert mean_held(times, values, end, 0.0) == pytest.approx(area / end, abs=1e-9)
