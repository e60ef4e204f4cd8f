"""DARTS-: with beta 0 it is DARTS, beta ends at 0, derivation never sees it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from core.nas import methods
from core.nas.methods.auxiliary_skip import AuxiliarySkip
from core.nas.search import SearchConfig
from core.nas.space import CELL_SPACES, Space
from core.nas.supernet import Supernet, softmax


def begin(cells: str = "s3", **settings: Any) -> AuxiliarySkip:
    space = Space(channels=4, layers=3, nodes=2, input_channels=1, cells=cells)
    supernet = Supernet(space, 3, torch.Generator().manual_seed(0)).double()
    made = methods.create("darts-minus", supernet, **settings)
    assert isinstance(made, AuxiliarySkip)
    return made


def betas(method: AuxiliarySkip, epochs: int) -> list[float]:
    config, found = SearchConfig(epochs=epochs), []
    for epoch in range(epochs):
        method.begin(epoch, config)
        found.append(method.beta)
    return found


def test_beta_falls_from_one_to_zero() -> None:
    assert betas(begin(), 5) == pytest.approx([1, 0.75, 0.5, 0.25, 0])
    cosine = betas(begin(decay="cosine"), 5)
    assert cosine == pytest.approx([1, 0.5 + 8**-0.5, 0.5, 0.5 - 8**-0.5, 0])
    assert betas(begin(), 1) == [0]


def test_with_beta_zero_it_is_darts() -> None:
    method = begin()
    method.begin(4, SearchConfig(epochs=5))
    alphas = method.supernet.alphas()["normal"]
    assert torch.equal(method.relax("normal", alphas), softmax("normal", alphas))


@pytest.mark.parametrize("cells", CELL_SPACES)
def test_it_adds_beta_times_the_state_to_every_edge(cells: str) -> None:
    method = begin(cells)
    method.begin(1, SearchConfig(epochs=5))
    supernet = method.supernet
    edges = next(c for c in supernet.cells if not c.reduction).states[0]
    state = torch.randn(3, 4, 6, 6, dtype=torch.float64)
    rows = supernet.alphas()["normal"][: edges.edges].detach()
    plain, with_skip = softmax("normal", rows), method.relax("normal", rows)
    difference = edges(state, with_skip) - edges(state, plain)
    expected = 0.75 * state.repeat(1, edges.edges, 1, 1)
    torch.testing.assert_close(difference, expected)


def test_derivation_never_sees_it() -> None:
    method = begin()
    method.begin(0, SearchConfig(epochs=5))
    alphas = method.supernet.alphas()["normal"]
    assert torch.equal(method.preference("normal", alphas), softmax("normal", alphas))


def test_a_space_without_skips_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from core.nas import space as module
    from core.nas.space import CellSpace

    bare = CellSpace(operations=("none", "sep_conv_3x3"))
    monkeypatch.setattr(module, "CELL_SPACES", {**CELL_SPACES, "bare": bare})
    with pytest.raises(ValueError, match="no skip_connect among none, sep_conv_3x3"):
        begin("bare")
