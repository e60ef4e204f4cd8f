"""What is expected of a source: laws, oracles on tiny cases, and coverage in simulated worlds."""

import math
import random
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.ot import expected_lead
from core.ot.expected_lead import FEWEST, Forecast, Margin, learn
from core.ot.lead_model import Observation, fit, non_increasing, shrunken_means

SOURCES = 6
World = Callable[[random.Random, float, int], float]


def nearness_and_source(dice: random.Random, distance: float, source: int) -> float:
    """Nearer is better, but some sources are worth more than others wherever they are."""
    return 20 - 4 * distance + 8 * (source % 3) + dice.gauss(0, 2)


def nearness_alone(dice: random.Random, distance: float, source: int) -> float:
    return 20 - 8 * distance + dice.gauss(0, 2)


def chance(dice: random.Random, distance: float, source: int) -> float:
    return dice.gauss(5, 6)


def history(world: World, *, targets: int, seed: int, sources: int = 3) -> list[Observation]:
    """Every target met `sources` sources."""
    dice = random.Random(seed)
    found = []
    for target in range(targets):
        for source in dice.sample(range(SOURCES), sources):
            distance = dice.uniform(0, 2)
            lead = world(dice, distance, source)
            found.append(Observation(f"t{target}", f"s{source}", distance, lead))
    return found


def test_a_world_of_nearness_and_sources_is_learned() -> None:
    forecast = learn(history(nearness_and_source, targets=30, seed=1))
    assert forecast.proven
    # A better source far away is expected to beat a worse one that is nearer.
    better, worse = forecast.expect("s2", 1.2), forecast.expect("s0", 0.8)
    assert better is not None
    assert worse is not None
    assert better.lead > worse.lead + 5
    assert better.low < better.lead < better.high


@pytest.mark.parametrize("world", [chance, nearness_alone])
def test_where_sources_do_not_differ_distance_decides(world: World) -> None:
    forecasts = [learn(history(world, targets=20, seed=seed)) for seed in range(25)]
    assert sum(each.proven for each in forecasts) <= 1
    silent = next(each for each in forecasts if not each.proven)
    assert silent.expect("s0", 1.0) is None


def test_nearness_alone_is_told_from_chance() -> None:
    def clear(world: World) -> int:
        found = [learn(history(world, targets=20, seed=seed)).value for seed in range(10)]
        return sum(each is not None and each.clear for each in found)

    assert clear(nearness_alone) == 10
    assert clear(chance) <= 1


def test_a_function_of_distance_alone_orders_as_distance_does() -> None:
    one_each = [
        Observation(f"t{n}", f"s{n}-{k}", 0.1 * n + k, 9.0 - 3 * k + n % 4)
        for n in range(FEWEST)
        for k in range(3)
    ]  # no source is met twice: nothing can be said of one
    forecast = learn(one_each)
    assert forecast.order == Margin(0.0, 0.0)
    assert not forecast.proven


def test_few_targets_say_nothing_however_clear() -> None:
    seen = history(nearness_and_source, targets=FEWEST - 1, seed=1, sources=6)
    forecast = learn(seen)
    assert (forecast.targets, forecast.proven) == (FEWEST - 1, False)
    assert forecast.expect("s2", 0.1) is None
    assert learn([]).targets == 0


def test_the_interval_covers_new_targets() -> None:
    shares = []
    for seed in range(4):
        forecast = learn(history(nearness_and_source, targets=25, seed=seed))
        assert forecast.proven
        for new in history(nearness_and_source, targets=60, seed=100 + seed):
            found = forecast.expect(new.source, new.distance)
            assert found is not None
            shares.append(found.low <= new.lead <= found.high)
    assert 0.74 < sum(shares) / len(shares) < 0.9


def test_the_interval_is_the_jackknife_plus() -> None:
    seen = history(nearness_and_source, targets=20, seed=3)
    forecast = learn(seen)
    assert forecast.proven
    lows, highs = [], []
    for each in seen:
        others = fit([other for other in seen if other.target != each.target])
        miss = abs(each.lead - others.at(each.source, each.distance))
        at_new = others.at("s4", 0.7)
        lows.append(at_new - miss)
        highs.append(at_new + miss)
    place = math.ceil(expected_lead.COVERAGE * (len(seen) + 3)) - 1  # one target more, of three
    found = forecast.expect("s4", 0.7)
    assert found is not None
    assert found.high == pytest.approx(sorted(highs)[place])
    assert found.low == pytest.approx(sorted(lows, reverse=True)[place])
    assert found.lead == pytest.approx(fit(seen).at("s4", 0.7))


def told(forecast: Forecast) -> list[object]:
    asked = [("s1", 0.3), ("new", 1.1), ("s5", None)]
    return [forecast.order, forecast.value, *(forecast.expect(*each) for each in asked)]


def test_the_order_of_the_history_changes_nothing() -> None:
    seen = history(nearness_and_source, targets=16, seed=5)
    seen += [Observation(each.target, each.source, 0.5, 1.0) for each in seen[:7]]
    shuffled = list(seen)
    random.Random(0).shuffle(shuffled)
    assert told(learn(shuffled)) == told(learn(seen))


def test_a_pair_measured_again_counts_once() -> None:
    seen = history(nearness_and_source, targets=16, seed=5)
    assert told(learn([*seen, *seen[:9]])) == told(learn(seen))


def test_farther_is_never_expected_to_be_better() -> None:
    forecast = learn(history(nearness_and_source, targets=30, seed=1))
    found = [forecast.expect("unknown", float(each)) for each in np.linspace(-1, 4, 40)]
    leads = [each.lead for each in found if each is not None]
    assert len(leads) == 40
    assert all(one >= two for one, two in pairwise(leads))
    assert leads[0] > leads[-1]


def test_a_source_without_a_distance_is_judged_by_its_own_record() -> None:
    seen = history(nearness_and_source, targets=30, seed=1)
    dice = random.Random(9)
    for target in range(30):
        seen.append(Observation(f"t{target}", "good zoo", None, 12 + dice.gauss(0, 1)))
        seen.append(Observation(f"t{target}", "bad zoo", None, 2 + dice.gauss(0, 1)))
    forecast = learn(seen)
    good, bad, new = (forecast.expect(name, None) for name in ("good zoo", "bad zoo", "new zoo"))
    assert good is not None
    assert bad is not None
    assert new is not None
    assert good.lead == pytest.approx(12, abs=1)
    assert bad.lead == pytest.approx(2, abs=1)
    assert bad.lead < new.lead < good.lead


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-20, 20), st.integers(1, 5)), min_size=1, max_size=7))
def test_the_non_increasing_fit_is_the_min_max_formula(pairs: list[tuple[int, int]]) -> None:
    # Robertson, Wright & Dykstra 1988, theorem 1.4.4.
    values, weights = np.array(pairs, dtype=np.float64).T
    n = len(pairs)

    def mean(first: int, last: int) -> float:
        part = slice(first, last + 1)
        return float(np.average(values[part], weights=weights[part]))

    wanted = [min(max(mean(a, b) for b in range(i, n)) for a in range(i + 1)) for i in range(n)]
    found = non_increasing(values, weights.astype(np.int64))
    np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_means_are_shrunk_by_what_may_be_chance() -> None:
    # Within 2, between (16 - 2) / 2 = 7: 14 / 16 of each mean is left.
    found = shrunken_means({"a": [1.0, 3.0], "b": [-3.0, -1.0]})
    assert found == pytest.approx({"a": 1.75, "b": -1.75})
    assert shrunken_means({"a": [-1.0, 1.0], "b": [-1.0, 1.0]}) == {}
    assert shrunken_means({"a": [1.0], "b": [-1.0]}) == {}
    assert shrunken_means({"a": [1.0, -1.0]}) == {}


def test_a_fit_needs_something_to_fit() -> None:
    with pytest.raises(ValueError, match="at least one"):
        fit([])
    only = fit([Observation("t", "s", None, 3.0)])
    assert (only.at("s", None), only.at("s", 2.0)) == (3.0, 3.0)
    near = fit([Observation("t", "s", 1.0, 4.0)])
    assert (near.at("s", 7.0), near.at("s", None)) == (4.0, 4.0)
