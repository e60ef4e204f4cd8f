"""Order of neighbours, ties, and what is claimed of what was not measured."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.ot import class_plans, targets
from core.ot.dataset_distance import OTDDConfig, class_distance, otdd
from core.ot.embedded_dataset import build
from core.ot.ranking import rank
from tests.unit.ot.conftest import gaussian_classes
from tests.unit.ot.registries import block_of, rank_named, shifted


def test_nearer_sources_come_first() -> None:
    sources = {"far": shifted(5, seed=1), "near": shifted(0, seed=2), "middle": shifted(2, seed=3)}
    order, names = rank_named(shifted(0.1), sources)
    assert names == ["near", "middle", "far"]
    assert [one.tied_with_nearest for one in order.neighbours] == [True, False, False]
    for one, name in zip(order.neighbours, names, strict=True):
        assert one.distance == otdd(shifted(0.1), sources[name]).distance
        assert one.interval[0] <= one.distance <= one.interval[1]
        assert one.measure == "samples"
        assert one.evidence is not None
        assert one.evidence.cost == pytest.approx(one.distance**2)
    assert order.proven == 3
    assert order.floor == math.inf


def test_samples_of_one_distribution_are_tied() -> None:
    order, _ = rank_named(
        shifted(0), {f"copy {seed}": shifted(1, seed=seed) for seed in range(1, 5)}
    )
    assert all(one.tied_with_nearest for one in order.neighbours)


def test_the_same_source_twice_is_in_the_order_of_the_block() -> None:
    twin = shifted(1, seed=1)
    _, names = rank_named(shifted(0), {"b": twin, "a": twin})
    assert names == ["b", "a"]


def test_with_a_small_budget_the_rest_is_estimated_and_nothing_more_is_claimed() -> None:
    # Sources so much alike that no bound can tell them apart.
    sources = {f"{seed}": shifted(0.5, seed=seed) for seed in range(1, 13)}
    order, names = rank_named(shifted(0), sources, k=2, budget=0)
    measures = [one.measure for one in order.neighbours]
    assert len(names) == 12
    assert measures[:2] == ["samples", "samples"]
    assert measures.count("samples") < 12
    assert order.proven == 0
    assert order.floor < order.neighbours[0].distance
    for one, name in zip(order.neighbours, names, strict=True):
        exact = otdd(shifted(0), sources[name]).distance
        assert one.interval[0] <= one.distance <= one.interval[1]
        assert one.distance == pytest.approx(exact, rel=0.15)


def test_a_proof_measures_as_few_as_it_can() -> None:
    sources = {f"{seed}": shifted(seed, seed=seed) for seed in range(20)}
    loaded: list[int] = []
    listed = list(sources.values())

    def load(row: int):  # type: ignore[no-untyped-def]
        loaded.append(row)
        return listed[row]

    order = rank(shifted(0.1, seed=99), block_of(listed), load, k=3)
    assert order.proven >= 3
    assert [one.row for one in order.neighbours[:3]] == [0, 1, 2]
    assert len(loaded) < 8
    assert len(set(loaded)) == len(loaded)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), samples=st.sampled_from([20, 60, 500]))
def test_no_source_lies_below_its_bound(seed: int, samples: int) -> None:
    random = np.random.default_rng(seed)
    target = build(*gaussian_classes(seed=seed, classes=3, per_class=25), "abc")
    sources = [
        build(
            *gaussian_classes(
                seed=seed + at, classes=int(random.integers(1, 5)), per_class=30, shift=at / 3
            ),
            "abcde",
        )
        for at in range(1, 6)
    ]
    config = OTDDConfig(samples=samples, lambda_x=0.7, lambda_y=1.6)
    block = block_of(sources, samples=samples)
    bounds = class_plans.bound(targets.prepare(target, samples=samples), block)
    for at, source in enumerate(sources):
        cost = otdd(target, source, config).cost
        assert 0.7 * bounds.features[at] + 1.6 * bounds.labels[at] <= cost * (1 + 1e-9)
        assert bounds.labels[at] <= class_distance(target, source).labels_part * (1 + 1e-9)


def test_a_claim_of_proof_is_true() -> None:
    for seed in range(6):
        sources = {f"{at}": shifted(at / 4, seed=20 * seed + at) for at in range(16)}
        target = shifted(1.6, seed=7 + seed)
        order, names = rank_named(target, sources, k=3, budget=2)
        exact = sorted(sources, key=lambda name: otdd(target, sources[name]).distance)
        assert names[: order.proven] == exact[: order.proven]


def test_sources_left_out_limit_what_is_proved() -> None:
    sources = {"near": shifted(0, seed=1), "far": shifted(3, seed=2)}
    near, far = (otdd(shifted(0.1), source).distance for source in sources.values())
    order, _ = rank_named(shifted(0.1), sources, floor=(near + far) / 2)
    assert order.proven == 1
    assert order.floor == (near + far) / 2


def test_only_allowed_sources_are_ranked() -> None:
    sources = {"near": shifted(0, seed=1), "middle": shifted(1, seed=2), "far": shifted(3, seed=3)}
    order, names = rank_named(shifted(0.1), sources, allowed=np.array([1, 2]))
    assert names == ["middle", "far"]
    assert order.proven == 2


def test_statistics_alone_are_compared_by_class_and_say_so() -> None:
    sources = {f"{at}": shifted(at / 2, seed=at + 1) for at in range(6)}
    mixed = dict(sources, **{"2": sources["2"].without_samples()})
    order, names = rank_named(shifted(0.1), mixed)
    by_name = dict(zip(names, order.neighbours, strict=True))
    assert by_name["2"].measure == "classes"
    assert names == ["0", "1", "2", "3", "4", "5"]
    whole = otdd(shifted(0.1), sources["2"]).distance
    assert by_name["2"].distance == pytest.approx(whole, rel=0.1)
    assert by_name["2"].interval[0] < by_name["2"].distance < by_name["2"].interval[1]
    assert order.proven < 6  # nothing can be proved of what was not transported


def test_a_target_of_statistics_alone_is_ranked_by_class() -> None:
    sources = {f"{at}": shifted(at, seed=at + 1) for at in range(4)}
    target = shifted(0.1).without_samples()
    order, names = rank_named(target, sources)
    assert names == ["0", "1", "2", "3"]
    assert {one.measure for one in order.neighbours} == {"classes"}
    assert order.proven == 0
    assert order.neighbours[0].distance == class_distance(target, sources["0"]).distance


def test_no_sources_no_neighbours() -> None:
    order, names = rank_named(shifted(0), {"a": shifted(1)}, allowed=np.zeros(0, np.int64))
    assert (names, order.proven) == ([], 0)


def test_progress_is_heard() -> None:
    heard: list[tuple[int, int]] = []
    sources = {f"{at}": shifted(at, seed=at) for at in range(4)}
    rank_named(shifted(0), sources, heard=lambda done, most: heard.append((done, most)))
    assert heard == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_other_embedders_are_refused() -> None:
    strange = replace(shifted(1), embedder="another@1")
    with pytest.raises(ValueError, match="embedded differently"):
        rank_named(shifted(0), {"strange": strange}, OTDDConfig(samples=20))
    with pytest.raises(ValueError, match="5 dimensions"):
        rank_named(shifted(0), {"strange": shifted(0, dimension=5)})
    with pytest.raises(ValueError, match="k must be"):
        rank_named(shifted(0), {"fine": shifted(1)}, k=0)


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0])
def test_measures_are_of_one_unit_for_every_exponent(p: float) -> None:
    sources = {f"{at}": shifted(at, seed=at + 1) for at in range(16)}
    mixed = dict(sources, **{"2": sources["2"].without_samples()})
    config = OTDDConfig(p=p, lambda_y=3.0)
    order, names = rank_named(shifted(0.1), mixed, config, k=4, budget=0)
    assert names[:8] == ["0", "1", "2", "3", "4", "5", "6", "7"]
    by_name = dict(zip(names, order.neighbours, strict=True))
    assert by_name["2"].measure == "classes"
    assert by_name["7"].measure == "estimate"
    for name in ("2", "7"):
        exact = otdd(shifted(0.1), sources[name], config).distance
        assert by_name[name].distance == pytest.approx(exact, rel=0.05)


def test_more_neighbours_than_the_funnel_keeps_are_measured_when_asked_for() -> None:
    target = shifted(0.05, per_class=4, dimension=2)
    sources = {f"{at}": shifted(at / 8, seed=at, per_class=4, dimension=2) for at in range(72)}
    heard: list[tuple[int, int]] = []
    order, _ = rank_named(
        target, sources, k=70, budget=0, heard=lambda done, most: heard.append((done, most))
    )
    assert [each.measure for each in order.neighbours[:70]] == ["samples"] * 70
    assert [done for done, _ in heard] == list(range(1, len(heard) + 1))
    assert all(done <= most for done, most in heard)


def test_progress_never_passes_its_end() -> None:
    # Sources so much alike that what is measured first turns out not to be the nearest.
    sources = {f"{seed}": shifted(0.5, seed=seed, per_class=200) for seed in range(1, 15)}
    heard: list[tuple[int, int]] = []
    rank_named(
        shifted(0, per_class=200),
        sources,
        OTDDConfig(samples=40),
        k=3,
        budget=0,
        heard=lambda done, most: heard.append((done, most)),
    )
    assert len(heard) > 3
    assert all(done <= most for done, most in heard)


def test_estimates_are_of_the_size_of_sample_that_is_measured() -> None:
    # In forty dimensions a distance of 256 samples lies some hundredths above one of 500.
    shape = {"per_class": 250, "dimension": 40}
    sources = {f"{at}": shifted(at / 8, seed=at + 1, **shape) for at in range(12)}
    target = shifted(0.1, seed=99, **shape)
    order, names = rank_named(target, sources, k=3, budget=0)
    estimates = [
        (one.distance, sources[name])
        for one, name in zip(order.neighbours, names, strict=True)
        if one.measure == "estimate"
    ]
    assert len(estimates) == 9
    for estimate, source in estimates:
        assert estimate == pytest.approx(otdd(target, source).distance, rel=0.015)
