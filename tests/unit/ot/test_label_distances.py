"""Gaussian label distances against the textbook formula with matrix square roots."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.ot.label_distances import squared_gaussian_distances
from core.ot.moments import ClassMoments, class_moments
from tests.unit.ot.conftest import gaussian_classes


def oracle(first: np.ndarray, second: np.ndarray) -> float:
    """Squared 2-Wasserstein distance of the Gaussians fitted to two samples."""
    root = scipy.linalg.sqrtm(np.atleast_2d(np.cov(first, rowvar=False))).real
    other = np.atleast_2d(np.cov(second, rowvar=False))
    cross = scipy.linalg.sqrtm(root @ other @ root).real
    means = np.square(first.mean(0) - second.mean(0)).sum()
    return float(means + np.trace(root @ root) + np.trace(other) - 2 * np.trace(cross))


def moments_of(seed: int, *, per_class: int, dimension: int) -> ClassMoments:
    features, labels = gaussian_classes(seed=seed, per_class=per_class, dimension=dimension)
    return class_moments(features, labels, classes=3)


@settings(max_examples=20, deadline=None)
@given(dimension=st.integers(2, 6), extra=st.integers(2, 20), seed=st.integers(0, 99))
def test_matches_the_square_root_formula(dimension: int, extra: int, seed: int) -> None:
    first = gaussian_classes(seed=seed, per_class=dimension + extra, dimension=dimension)
    second = gaussian_classes(seed=seed + 100, per_class=40, dimension=dimension, classes=2)
    distances = squared_gaussian_distances(
        class_moments(*first, classes=3), class_moments(*second, classes=2)
    )
    for i in range(3):
        for j in range(2):
            expected = oracle(
                first[0][first[1] == i].double().numpy(),
                second[0][second[1] == j].double().numpy(),
            )
            assert float(distances[i, j]) == pytest.approx(expected, rel=1e-7, abs=1e-9)


def test_singular_covariances_match_a_formula_without_roots() -> None:
    # Two segments in the plane at an angle: rank one each, so the Bures term is |la . lb|.
    angle, long, short = 0.7, 3.0, 0.5
    axis = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    turned = axis @ torch.tensor(
        [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]], dtype=torch.float64
    )
    first = class_moments(long * axis, torch.zeros(2, dtype=torch.long), classes=1)
    second = class_moments(short * turned + 1, torch.zeros(2, dtype=torch.long), classes=1)
    expected = 2 + 2 * (long**2 + short**2) - 4 * long * short * abs(np.cos(angle))
    assert float(squared_gaussian_distances(first, second)) == pytest.approx(expected, rel=1e-9)


def test_points_are_at_the_squared_distance_of_their_means() -> None:
    first = class_moments(torch.tensor([[0.0, 0.0]]), torch.tensor([0]), classes=1)
    second = class_moments(torch.tensor([[3.0, 4.0]]), torch.tensor([0]), classes=1)
    assert float(squared_gaussian_distances(first, second)) == 25.0


@pytest.mark.parametrize("per_class", [1, 3, 80])
@pytest.mark.parametrize("dimension", [1, 40])
def test_a_class_is_at_zero_from_itself(per_class: int, dimension: int) -> None:
    moments = moments_of(3, per_class=per_class, dimension=dimension)
    distances = squared_gaussian_distances(moments, moments)
    assert torch.equal(distances.diagonal(), torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(distances, distances.T, rtol=1e-10, atol=1e-12)
    assert bool((distances >= 0).all())


def test_different_dimensions_are_refused() -> None:
    first, second = (
        moments_of(0, per_class=4, dimension=3),
        moments_of(0, per_class=4, dimension=4),
    )
    with pytest.raises(ValueError, match="3 and 4 dimensions"):
        squared_gaussian_distances(first, second)
