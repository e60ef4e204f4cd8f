"""Points in the plane: exact where a plane holds them, and never worse than where they began."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from core.ot.layout import lay_out

Floats = NDArray[np.float64]
SEEDS = st.integers(0, 999)


def between(places: Floats) -> Floats:
    apart: Floats = np.linalg.norm(places[:, None] - places[None], axis=-1)
    return apart


def classical_stress(distances: Floats) -> float:
    """Stress-1 of classical scaling, from the textbook."""
    count = len(distances)
    centring = np.eye(count) - np.ones((count, count)) / count
    values, vectors = np.linalg.eigh(-centring @ distances**2 @ centring / 2)
    places = vectors[:, -2:] * np.sqrt(np.maximum(values[-2:], 0))
    return float(np.sqrt(((between(places) - distances) ** 2).sum() / np.square(distances).sum()))


def random_distances(seed: int, count: int, dimension: int = 6) -> Floats:
    return between(np.random.default_rng(seed).normal(size=(count, dimension)))


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, count=st.integers(1, 40), scale=st.sampled_from([1e-9, 1.0, 1e9]))
def test_what_lies_in_a_plane_is_recovered(seed: int, count: int, scale: float) -> None:
    distances = between(scale * np.random.default_rng(seed).normal(size=(count, 2)))
    places, stress = lay_out(distances)
    assert places.shape == (count, 2)
    assert stress < 1e-6
    np.testing.assert_allclose(between(places), distances, atol=1e-6 * scale)
    np.testing.assert_allclose(places.mean(0), 0, atol=1e-9 * scale)


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, count=st.integers(3, 40))
def test_stress_is_kruskal_s_and_not_above_that_of_classical_scaling(
    seed: int, count: int
) -> None:
    distances = random_distances(seed, count)
    places, stress = lay_out(distances)
    left = np.square(between(places) - distances).sum() / np.square(distances).sum()
    assert stress == pytest.approx(np.sqrt(left))
    assert stress <= classical_stress(distances) + 1e-9


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, count=st.integers(3, 20))
def test_distances_that_no_space_has_are_laid_out_too(seed: int, count: int) -> None:
    # Not even the triangle inequality holds.
    random = np.random.default_rng(seed).random((count, count))
    distances = np.triu(random, 1) + np.triu(random, 1).T
    places, stress = lay_out(distances)
    assert np.isfinite(places).all()
    assert 0 <= stress <= classical_stress(distances) + 1e-9


def test_the_same_distances_give_the_same_places() -> None:
    distances = random_distances(0, 25)
    places, stress = lay_out(distances)
    again, same = lay_out(distances.copy())
    assert np.array_equal(places, again)
    assert stress == same
    for axis in range(2):
        assert places[0, axis] > 0


def test_the_unit_of_the_distances_is_that_of_the_places() -> None:
    distances = random_distances(1, 12)
    places, stress = lay_out(distances)
    larger, same = lay_out(1024 * distances)
    np.testing.assert_allclose(larger, 1024 * places, rtol=1e-9)
    assert same == pytest.approx(stress)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_points_without_distance_lie_on_one_another(count: int) -> None:
    places, stress = lay_out(np.zeros((count, count)))
    assert not places.any()
    assert stress == 0.0


def test_twins_stay_together() -> None:
    distances = random_distances(3, 6)
    rows = [0, 0, 1, 2, 2, 3, 4, 5]
    places, _ = lay_out(distances[np.ix_(rows, rows)])
    np.testing.assert_allclose(places[0], places[1], atol=1e-6)
    np.testing.assert_allclose(places[3], places[4], atol=1e-6)


@pytest.mark.parametrize(
    ("distances", "complaint"),
    [
        (np.zeros((0, 0)), "square"),
        (np.zeros((2, 3)), "square"),
        (np.zeros(4), "square"),
        (np.array([[0.0, np.nan], [np.nan, 0.0]]), "finite"),
        (np.array([[0.0, np.inf], [np.inf, 0.0]]), "finite"),
        (np.array([[0.0, -1.0], [-1.0, 0.0]]), "non-negative"),
        (np.array([[0.0, 1.0], [2.0, 0.0]]), "symmetric"),
        (np.eye(2), "zero diagonal"),
    ],
)
def test_what_are_no_distances_is_refused(distances: Floats, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        lay_out(distances)
