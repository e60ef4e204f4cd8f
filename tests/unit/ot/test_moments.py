"""Class moments against NumPy, and their degenerate cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.ot.moments import class_moments
from tests.unit.ot.conftest import gaussian_classes


@settings(max_examples=25, deadline=None)
@given(per_class=st.integers(2, 30), dimension=st.integers(1, 12), seed=st.integers(0, 99))
def test_factors_multiply_to_the_covariance(per_class: int, dimension: int, seed: int) -> None:
    features, labels = gaussian_classes(seed=seed, per_class=per_class, dimension=dimension)
    moments = class_moments(features, labels, classes=3)
    for label in range(3):
        rows = features[labels == label].double().numpy()
        expected = np.cov(rows, rowvar=False).reshape(dimension, dimension)
        factor = moments.factors[label].numpy()
        np.testing.assert_allclose(factor @ factor.T, expected, atol=1e-10)
        np.testing.assert_allclose(moments.means[label], rows.mean(0), atol=1e-12)
        assert float(moments.traces[label]) == pytest.approx(np.trace(expected), abs=1e-10)
    assert moments.counts.tolist() == [per_class] * 3


def test_factors_are_no_wider_than_the_smaller_side() -> None:
    few = class_moments(*gaussian_classes(seed=0, per_class=4, dimension=9), classes=3)
    many = class_moments(*gaussian_classes(seed=0, per_class=40, dimension=9), classes=3)
    assert few.factors.shape == (3, 9, 4)
    assert many.factors.shape == (3, 9, 9)


def test_cut_factors_keep_the_largest_variances_and_the_full_trace() -> None:
    features, labels = gaussian_classes(seed=1, per_class=50, dimension=8)
    full = class_moments(features, labels, classes=3)
    cut = class_moments(features, labels, classes=3, rank=2)
    assert torch.equal(cut.factors, full.factors[..., :2])
    variances = full.factors.square().sum(1)
    assert bool((variances[:, :-1] >= variances[:, 1:] - 1e-12).all())
    assert torch.equal(cut.traces, full.traces)


def test_classes_of_one_sample_and_constant_features_are_points() -> None:
    features = torch.tensor([[1.0, 2.0], [3.0, 4.0], [3.0, 4.0]])
    moments = class_moments(features, torch.tensor([0, 1, 1]), classes=2)
    assert torch.count_nonzero(moments.factors) == 0
    assert moments.traces.tolist() == [0.0, 0.0]
    assert moments.means.tolist() == [[1.0, 2.0], [3.0, 4.0]]


@pytest.mark.parametrize(("labels", "rank"), [([0, 0], None), ([0, 2], None), ([0, 1], 0)])
def test_empty_classes_unknown_labels_and_empty_factors_are_refused(
    labels: list[int], rank: int | None
) -> None:
    with pytest.raises(ValueError, match=r"class|rank"):
        class_moments(torch.zeros(2, 3), torch.tensor(labels), classes=2, rank=rank)
