"""What is measured of polling is judged: what broke, and what was refused, by every route."""

from collections import Counter

import pytest

from tests.benchmarks import bench_polling
from tests.benchmarks.bench_polling import BARE_ROUTE, OVERLOAD, ROUTE, UNCHANGED
from tests.benchmarks.polling.wrk import Load


def load(per_second: float, *statuses: int, lost: int = 0) -> Load:
    return Load(per_second, 50.0, 100.0, Counter(statuses), lost)


GOOD = {
    BARE_ROUTE: load(400, 200),
    ROUTE: load(900, 200),
    UNCHANGED: load(1500, 304),
    OVERLOAD: load(1400, 200, 429, 503),
}


def missed(**changed: Load) -> list[str]:
    found = {name: [changed.get(name, GOOD[name])] for name in GOOD}
    return [bar for bar, _, met in bench_polling.bars(found) if not met]


def test_what_is_good_misses_no_bar() -> None:
    assert missed() == []


@pytest.mark.parametrize("name", GOOD)
def test_no_route_may_lose_a_connection_or_fail(name: str) -> None:
    for bad in (load(GOOD[name].per_second, 200, lost=1), load(GOOD[name].per_second, 200, 500)):
        (bar,) = missed(**{name: bad})
        assert "none lost" in bar
        assert bar.startswith("overload") is (name == OVERLOAD)


def test_speed_is_judged_beside_the_bare_route() -> None:
    assert missed(**{BARE_ROUTE: load(4000, 200)}) == [
        "of a bare route >= .7",
        "304 against a bare route >= 1.5",
    ]
