"""A cluster's figures: their middle, their spread, and whether they reach their bar."""

import pytest

from tests.benchmarks.cluster.bare import Spent
from tests.benchmarks.cluster.measuring import Row, overhead_rows


def test_few_values_show_their_range_and_many_their_quartiles() -> None:
    few = Row.of("m", "s", [3.0, 1.0, 2.0])
    assert (few.median, few.low, few.high, few.count) == (2.0, 1.0, 3.0, 3)
    many = Row.of("m", "s", [float(n) for n in range(9)])
    assert (many.median, many.low, many.high) == (4.0, 2.0, 6.0)


@pytest.mark.parametrize(
    ("bars", "said", "passed"),
    [
        ({}, "", None),
        ({"most": 2.0}, "<= 2", True),
        ({"most": 1.9}, "<= 1.9", False),
        ({"least": 2.0}, ">= 2", True),
        ({"least": 2.1}, ">= 2.1", False),
    ],
)
def test_the_median_is_held_against_the_bar(
    bars: dict[str, float], said: str, passed: bool | None
) -> None:
    row = Row.of("m", "s", [1.0, 2.0, 30.0], **bars)
    assert (row.bar, row.passed) == (said, passed)


def test_overhead_is_what_a_job_takes_more_than_its_search() -> None:
    bares = [Spent(wall=100.0, cpu=80.0), Spent(wall=200.0, cpu=160.0)]
    jobs = [Spent(wall=101.0, cpu=82.0), Spent(wall=202.0, cpu=164.0)]
    found = {row.measure: row for row in overhead_rows(jobs, bares, epochs=10)}
    assert found["overhead of a job, wall"].median == pytest.approx(1.5)
    assert found["the same per epoch, wall"].median == pytest.approx(0.15)
    assert found["share of the search, wall"].median == pytest.approx(0.01)
    assert found["share of the search, cpu"].median == pytest.approx(0.025)
    assert found["share of the search, wall"].passed
