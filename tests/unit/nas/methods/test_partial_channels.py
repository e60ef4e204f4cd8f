"""PC-DARTS: what passes by is not touched, alphas and betas wait for the weights."""

from __future__ import annotations

import torch

from core.nas import methods
from core.nas.images import LabelledImages
from core.nas.search import SearchConfig, SearchState, run
from core.nas.space import Space
from core.nas.supernet import PartialCell, Supernet

SPACE = Space(channels=8, layers=3, nodes=1, input_channels=1, cells="s3", partial=4)


def begin() -> SearchState:
    supernet = Supernet(SPACE, 10, torch.Generator().manual_seed(0))
    return SearchState(supernet, methods.create("pc-darts", supernet))


def test_alphas_and_betas_rest_for_three_tenths_of_the_epochs(
    halves: tuple[LabelledImages, LabelledImages],
) -> None:
    state = begin()
    train, valid = (half.take(torch.arange(20)) for half in halves)
    start = [p.detach().clone() for p in state.adam.parameters]
    assert len(start) == 4  # alphas and betas of both kinds of cell
    moved = {}
    for record in run(state, train, valid, SearchConfig(epochs=10, batch_size=20)):
        pairs = zip(start, state.adam.parameters, strict=True)
        moved[record.epoch] = [not torch.equal(a, b) for a, b in pairs]
    assert not any(any(moved[epoch]) for epoch in range(4))
    assert all(all(moved[epoch]) for epoch in range(4, 11))


def test_what_passes_by_is_the_state_itself() -> None:
    cell = begin().supernet.cells[0]
    assert isinstance(cell, PartialCell)
    torch.manual_seed(0)
    images = torch.randn(3, 24, 6, 6), torch.randn(3, 24, 6, 6)
    shares = torch.tensor([0.25, 0.75])
    maps = []
    for seed in (1, 2):
        weights = torch.rand(2, 3, generator=torch.Generator().manual_seed(seed))
        rows = torch.cat([weights, shares[:, None]], dim=1)
        maps.append(cell(*images, tuple(rows.split(1))))
    # Shuffled, every group of `partial` begins with a mixed channel.
    mixed = torch.arange(8) % 4 == 0
    states = cell.inputs(*images)
    passing = sum(share * state[:, 2:] for share, state in zip(shares, states, strict=True))
    for result in maps:
        kept = result[:, ~mixed].unflatten(1, (2, 3)).transpose(1, 2).flatten(1, 2)
        torch.testing.assert_close(kept, passing)
    assert not torch.allclose(maps[0][:, mixed], maps[1][:, mixed])
