"""The registry's own standard: what is near, what is a hub, and how a hub is put in its place."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.ot import neighbourhoods, targets
from core.ot.dataset_distance import OTDDConfig, class_distance
from core.ot.embedded_dataset import EmbeddedDataset, build
from core.ot.neighbourhoods import Yardstick, judge
from tests.unit.ot.registries import block_of, shifted

LABELS_ALONE = OTDDConfig(lambda_x=0.0)


def cloud(
    place: tuple[float, ...], *, seed: int, spread: float = 1.0, per_class: int = 30
) -> EmbeddedDataset:
    """Two classes round a place."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(2).repeat_interleave(per_class)
    noise = spread * torch.randn(len(labels), len(place), generator=generator)
    return build(noise + labels[:, None] + torch.tensor(place), labels, "ab")


def yardstick_of(distances: list[float]) -> Yardstick:
    references = np.arange(len(distances))
    return Yardstick(references, np.roll(references, 1), np.array(distances))


@pytest.mark.parametrize("statistics_alone", [False, True])
def test_the_nearest_are_those_of_the_exact_distance(statistics_alone: bool) -> None:
    target, *sources = (cloud((at, at % 3), seed=at) for at in range(9))
    if statistics_alone:
        sources = [source.without_samples() for source in sources]
    found = neighbourhoods.nearby(block_of(sources), targets.prepare(target, samples=500))
    exact = np.array([class_distance(target, each, LABELS_ALONE).distance for each in sources])
    np.testing.assert_allclose(found.distances, exact[found.rows], rtol=0.01)
    assert found.rows.tolist() == np.argsort(exact).tolist()
    assert found.scale == pytest.approx(np.sort(exact)[:5].mean(), rel=0.01)


@pytest.mark.parametrize("statistics_alone", ["neither", "source", "target", "both"])
def test_the_nearest_is_found_among_many(statistics_alone: str) -> None:
    # More than are looked at closely, all of them of another spread.
    target = cloud((0.0,) * 4, seed=0, spread=4.0, per_class=200)
    twin = cloud((0.0,) * 4, seed=1, spread=4.0, per_class=200)
    others = [cloud((1.5 + at / 100,) * 4, seed=9 + at, spread=3.0) for at in range(40)]
    if statistics_alone in ("source", "both"):
        twin = twin.without_samples()
    if statistics_alone in ("target", "both"):
        target = target.without_samples()
    block = block_of([*others, twin])
    found = neighbourhoods.nearby(block, targets.prepare(target, samples=500))
    assert found.rows[0] == 40
    assert len(found.rows) == 32


def test_a_source_is_not_its_own_neighbour_and_none_is_taken_that_is_not_allowed() -> None:
    block = block_of([shifted(at, seed=at) for at in range(5)])
    own = targets.of_source(block, 2)
    assert sorted(neighbourhoods.nearby(block, own, without=2).rows.tolist()) == [0, 1, 3, 4]
    allowed = np.array([0, 2, 4])
    assert set(neighbourhoods.nearby(block, own, allowed=allowed, without=2).rows) == {0, 4}
    nobody = neighbourhoods.nearby(block, own, allowed=np.array([2]), without=2)
    assert (len(nobody.rows), nobody.scale) == (0, 0.0)


def test_a_yardstick_holds_each_reference_s_distance_to_its_nearest_other() -> None:
    sources = [shifted(place, seed=at) for at, place in enumerate([0.0, 0.4, 2.0, 5.0, 5.5])]
    yardstick = neighbourhoods.measure(block_of(sources))
    assert yardstick.references.tolist() == [0, 1, 2, 3, 4]
    assert yardstick.nearest.tolist() == [1, 0, 1, 4, 3]
    for row, near, distance in zip(*map(np.ndarray.tolist, (
        yardstick.references, yardstick.nearest, yardstick.distances
    )), strict=True):  # fmt: skip
        exact = class_distance(sources[row], sources[near], LABELS_ALONE).distance
        assert distance == pytest.approx(exact, rel=0.02)


def test_large_registries_are_measured_at_some_references_always_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(neighbourhoods, "REFERENCES", 12)
    block = block_of([cloud((at / 9,), seed=at, per_class=3) for at in range(20)])
    once, again = neighbourhoods.measure(block), neighbourhoods.measure(block)
    assert len(once.references) == 12
    assert once.references.tolist() == sorted(set(once.references.tolist()))
    for name in ("references", "nearest", "distances"):
        assert np.array_equal(getattr(once, name), getattr(again, name))
    assert not np.array_equal(once.references, neighbourhoods.measure(block, seed=1).references)


def test_a_registry_of_one_has_no_yardstick() -> None:
    yardstick = neighbourhoods.measure(block_of([shifted(0)]))
    assert len(yardstick.distances) == 0
    assert yardstick.hub_share(0) is None
    verdict = judge(yardstick, 1.0)
    assert (verdict.nearness, verdict.share, verdict.threshold) == ("unknown", None, None)


@settings(max_examples=60, deadline=None)
@given(
    distances=st.lists(st.floats(0, 100), min_size=1, max_size=90),
    nearest=st.floats(0, 100),
)
def test_far_is_a_p_value_of_at_most_five_percent(distances: list[float], nearest: float) -> None:
    for candidate in (nearest, distances[0]):
        verdict = judge(yardstick_of(distances), candidate)
        farther = sum(each >= candidate for each in distances)
        value = (1 + farther) / (1 + len(distances))
        assert verdict.share == farther / len(distances)
        assert verdict.references == len(distances)
        if len(distances) < 19:
            assert (verdict.nearness, verdict.threshold) == ("unknown", None)
        else:
            assert verdict.nearness == ("far" if value <= 0.05 else "near")
            assert verdict.threshold is not None
            assert (candidate > verdict.threshold) == (verdict.nearness == "far")


@pytest.mark.parametrize("references", [19, 20, 39, 64])
def test_five_percent_of_exchangeable_datasets_are_judged_far(references: int) -> None:
    random = np.random.default_rng(references)
    trials = 4000
    judged = [
        judge(yardstick_of(random.exponential(size=references).tolist()), random.exponential())
        for _ in range(trials)
    ]
    far = sum(verdict.nearness == "far" for verdict in judged) / trials
    level = math.floor(0.05 * (references + 1)) / (references + 1)
    assert level <= 0.05
    assert far == pytest.approx(level, abs=4 * math.sqrt(level * (1 - level) / trials))


def test_about_five_percent_of_new_datasets_are_judged_far_by_a_registry_of_their_like(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # All the way: places drawn from one distribution, distances to the nearest as measured.
    monkeypatch.setattr(neighbourhoods, "_CANDIDATES", 2)  # centres tell these datasets apart
    random = np.random.default_rng(0)
    statistics = {"per_class": 2, "spread": 0.01}
    far = total = 0
    for trial in range(3):
        places = random.normal(size=(40 + 40, 2)) * 9
        datasets = [
            cloud(tuple(place), seed=at, **statistics)  # type: ignore[arg-type]
            for at, place in enumerate(places.tolist())
        ]
        block = block_of(datasets[:40])
        yardstick = neighbourhoods.measure(block, seed=trial)
        for target in datasets[40:]:
            seen = targets.prepare(target, samples=500)
            nearest = float(neighbourhoods.nearby(block, seen).distances[0])
            far += judge(yardstick, nearest).nearness == "far"
            total += 1
    assert 0.02 <= far / total <= 0.09


def test_a_hub_is_nearest_to_many_and_local_scaling_puts_it_behind() -> None:
    # The hub is in the middle of sources on a sphere, all of them nearer to it than to others.
    corners = [tuple(4.0 * (at == axis) for axis in range(8)) for at in range(8)]
    spokes = [cloud(corner, seed=at, spread=0.3) for at, corner in enumerate(corners)]
    hub = cloud((0.6,) * 8, seed=50, spread=0.3)
    kin = [cloud((4.2, 0, 0, 0, 0, 0, 0, 0), seed=60 + at, spread=0.3) for at in range(6)]
    block = block_of([*spokes, hub, *kin])
    yardstick = neighbourhoods.measure(block)
    share = yardstick.hub_share(8)
    assert share is not None
    assert share >= 7 / 14  # all spokes but the one with kin
    assert max(yardstick.hub_share(row) or 0.0 for row in range(8)) <= 1 / 14
    # A target between hub and spoke, a little nearer to the hub.
    place = (0.31, 2.23, *(0.31,) * 6)
    target = targets.prepare(cloud(place, seed=99, spread=0.3), samples=500)
    near = neighbourhoods.nearby(block, target)
    plain = dict(zip(near.rows.tolist(), near.distances.tolist(), strict=True))
    assert near.rows[0] == 8
    scaled = {
        row: neighbourhoods.scaled(
            distance,
            near.scale,
            neighbourhoods.nearby(block, targets.of_source(block, row), without=row).scale,
        )
        for row, distance in plain.items()
    }
    assert min(scaled, key=scaled.__getitem__) == 1


def test_hub_shares_leave_the_source_itself_aside() -> None:
    yardstick = Yardstick(np.array([0, 1, 2, 3]), np.array([1, 0, 1, 1]), np.ones(4))
    assert yardstick.hub_share(1) == 1.0
    assert yardstick.hub_share(0) == pytest.approx(1 / 3)
    assert yardstick.hub_share(7) == 0.0
    two = Yardstick(np.array([0, 1]), np.array([1, 0]), np.ones(2))
    assert two.hub_share(0) is None


@settings(max_examples=30, deadline=None)
@given(
    distance=st.floats(1e-3, 1e3),
    own=st.floats(1e-3, 1e3),
    others=st.floats(1e-3, 1e3),
    unit=st.floats(1e-3, 1e3),
)
def test_scaled_distances_have_no_unit_and_fall_with_the_scales(
    distance: float, own: float, others: float, unit: float
) -> None:
    value = neighbourhoods.scaled(distance, own, others)
    assert neighbourhoods.scaled(unit * distance, unit * own, unit * others) == pytest.approx(
        value
    )
    assert neighbourhoods.scaled(distance, own, 2 * others) < value
    assert neighbourhoods.scaled(distance, others, own) == value


def test_where_a_scale_is_zero() -> None:
    assert neighbourhoods.scaled(0.0, 0.0, 1.0) == 0.0
    assert neighbourhoods.scaled(1.0, 0.0, 1.0) == math.inf


def test_distances_between_sources_are_symmetric_and_near_the_exact_ones() -> None:
    sources = [cloud((at, 0.0, at / 2), seed=at) for at in range(5)]
    block = block_of([*sources[::-1], shifted(9, dimension=3)])
    found = neighbourhoods.distances_between(block, [4, 3, 2, 1, 0])
    assert np.array_equal(found, found.T)
    assert not np.diag(found).any()
    for i in range(5):
        for j in range(i):
            exact = class_distance(sources[i], sources[j], LABELS_ALONE).distance
            assert found[i, j] == pytest.approx(exact, rel=0.02)
