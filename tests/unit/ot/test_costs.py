"""Ground costs against their definition."""

from __future__ import annotations

import pytest
import torch

from core.ot.costs import joint_costs, squared_feature_distances


def test_equal_rows_cost_nothing_and_others_their_square() -> None:
    rows = 1e4 + torch.randn(30, 6, generator=torch.Generator().manual_seed(0))
    squares = squared_feature_distances(rows, rows)
    assert torch.count_nonzero(squares.diagonal()) == 0
    expected = (rows.double()[:, None] - rows.double()[None]).square().sum(-1)
    torch.testing.assert_close(squares, expected, rtol=1e-12, atol=1e-12)


def test_joint_cost_weighs_features_and_labels() -> None:
    labels_mn = torch.tensor([[5.0, 7.0], [11.0, 13.0]])
    costs = joint_costs(
        torch.tensor([[1.0, 2.0], [3.0, 4.0]]),
        labels_mn,
        torch.tensor([1, 0]),
        torch.tensor([0, 1]),
        lambda_x=10.0,
        lambda_y=2.0,
    )
    assert costs.tolist() == [[10 + 22, 20 + 26], [30 + 10, 40 + 14]]


def test_different_dimensions_are_refused() -> None:
    with pytest.raises(ValueError, match="3 and 4"):
        squared_feature_distances(torch.zeros(2, 3), torch.zeros(2, 4))


def test_near_rows_are_as_exact_as_far_ones() -> None:
    generator = torch.Generator().manual_seed(1)
    clusters = torch.tensor([-1e3, 0.0, 2e3, 2e3]).repeat_interleave(8)[:, None]
    first = clusters + 1e-2 * torch.randn(32, 5, generator=generator)
    second = clusters.flip(0) + torch.randn(32, 5, generator=generator)
    expected = (first.double()[:, None] - second.double()[None]).square().sum(-1)
    torch.testing.assert_close(
        squared_feature_distances(first, second), expected, rtol=1e-12, atol=0
    )
    turned = squared_feature_distances(second, first)
    torch.testing.assert_close(turned.T, expected, rtol=1e-12, atol=0)
