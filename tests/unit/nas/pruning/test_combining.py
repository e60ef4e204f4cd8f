"""Masks of several datasets as one: what they agree on stays, and who is near counts more."""

import pytest
import torch

from core.nas.pruning.channels import BLOCKS
from core.nas.pruning.combining import combined, nearness

SIZES = {"wide": 4, "narrow": 2, BLOCKS: 2}


def votes(*numbers: float) -> torch.Tensor:
    return torch.tensor(numbers)


def test_the_nearer_weighs_more_whatever_the_scale() -> None:
    weights = nearness([1.0, 2.0, 3.0])
    assert weights.sum() == pytest.approx(1.0)
    assert weights[0] > weights[1] > weights[2]
    assert torch.allclose(weights, nearness([100.0, 200.0, 300.0]))
    assert nearness([0.0, 0.0]).tolist() == [0.5, 0.5]


def test_fresh_chunks_agree_on_widths_and_kept_ones_on_places() -> None:
    """One keeps the first half of a group, one the second: together they keep a half."""
    first = votes(1, 1, -1, -1, 1, -1, 1, -1)
    second = votes(-1, -1, 1, 1, -1, 1, -1, 1)
    alike = combined([first, second], nearness([1.0, 1.0]), SIZES, by_place=False)
    assert alike.tolist() == [1, 1, -1, -1, 1, -1, 0, 0]  # blocks are no chunks
    placed = combined([first, second], nearness([1.0, 1.0]), SIZES, by_place=True)
    assert placed.tolist() == [0.0] * 8
    near = combined([first, second], nearness([0.0, 1.0]), SIZES, by_place=True)
    assert (near.sign() == first).all()


def test_one_voter_is_not_changed_but_for_the_order_of_its_chunks() -> None:
    scores = votes(0.1, 0.4, 0.2, 0.3, -0.5, 0.5, 0.2, 0.1)
    weights = nearness([2.0])
    assert torch.allclose(combined([scores], weights, SIZES, by_place=True), scores.double())
    ordered = combined([scores], weights, SIZES, by_place=False)
    assert torch.allclose(ordered, votes(0.4, 0.3, 0.2, 0.1, 0.5, -0.5, 0.2, 0.1).double())
