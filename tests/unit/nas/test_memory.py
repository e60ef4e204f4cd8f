"""Batches are as large as memory allows, and measuring that leaves the model alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from core.nas.genotype import Genotype
from core.nas.memory import fit_batch, largest_by_growth, largest_by_trial, saved_bytes
from core.nas.network import Network
from core.nas.space import Space
from core.nas.supernet import Supernet


def fails_above(count: int, seen: list[int]) -> Callable[[int], None]:
    def attempt(tried: int) -> None:
        seen.append(tried)
        if tried > count:
            raise torch.OutOfMemoryError(f"{tried} images")

    return attempt


@pytest.mark.parametrize(
    ("fits", "limit", "largest"),
    [(100, 512, 64), (64, 512, 64), (5, 7, 4), (95, 96, 64), (31, 32, 16)],
)
def test_trials_find_the_largest_power_of_two(fits: int, limit: int, largest: int) -> None:
    seen: list[int] = []
    assert largest_by_trial(fails_above(fits, seen), limit=limit) == largest
    assert seen[0] == limit
    assert seen[1:] == [2**k for k in range(1, len(seen))]
    assert seen[-1] < limit


@pytest.mark.parametrize("limit", [2, 7, 96, 512])
def test_what_was_asked_for_costs_one_trial_where_it_fits(limit: int) -> None:
    seen: list[int] = []
    assert largest_by_trial(fails_above(1000, seen), limit=limit) == limit
    assert seen == [limit]
    assert largest_by_growth(lambda count: count, available=1000, limit=limit) == limit


def test_other_errors_are_not_taken_for_a_full_memory() -> None:
    def attempt(count: int) -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        largest_by_trial(attempt, limit=8)


@pytest.mark.parametrize("limit", [1, 64])
def test_no_batch_at_all_is_an_error(limit: int) -> None:
    with pytest.raises(ValueError, match="batch_size"):
        largest_by_trial(fails_above(1, []), limit=limit)
    with pytest.raises(ValueError, match="batch_size"):
        largest_by_growth(lambda count: 100 * count, available=199, limit=limit)


def test_growth_is_extrapolated_from_two_small_batches() -> None:
    asked: list[int] = []

    def cost(count: int) -> int:
        asked.append(count)
        return 1000 + 10 * count

    for available, largest in ((1320, 32), (1319, 16), (10**9, 256)):
        assert largest_by_growth(cost, available=available, limit=256, share=1.0) == largest
    assert largest_by_growth(cost, available=2640, limit=256, share=0.5) == 32
    assert set(asked) == {2, 4}


def test_saved_bytes_count_each_storage_once() -> None:
    weight = torch.ones(3, 5, requires_grad=True)
    images = torch.ones(7, 3)
    # The product keeps the images (its weight is not asked for), exp its result.
    assert saved_bytes(lambda: (images @ weight).exp().sum()) == 4 * (7 * 3 + 7 * 5)
    assert saved_bytes(lambda: (weight * weight).sum()) == 4 * 3 * 5
    with torch.no_grad():
        assert saved_bytes(lambda: F.relu(images @ weight).sum()) == 0


@pytest.mark.parametrize("kind", ["supernet", "network"])
def test_a_step_grows_by_the_same_bytes_with_every_image(
    space: Space, genotype: Genotype, kind: str
) -> None:
    generator = torch.Generator().manual_seed(0)
    model = (
        Supernet(space, 10, generator)
        if kind == "supernet"
        else Network(space, genotype, 10, generator)
    )
    model.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}

    def kept(count: int) -> int:
        return saved_bytes(lambda: model.train()(torch.zeros(count, 1, 8, 8)).sum())

    small, large, larger = kept(8), kept(16), kept(32)
    assert larger - large == 2 * (large - small)
    model.load_state_dict(before)
    model.eval()
    # Room for 16, not for 32.
    found = fit_batch(model, (1, 8, 8), limit=256, available=round((large + larger) / 2 / 0.6))
    assert found == 16
    assert not model.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    with pytest.raises(ValueError, match="available"):
        fit_batch(model, (1, 8, 8), limit=256)
