"""Operation dropping: the worst goes, never the last, and what is gone is gone."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from core.nas import methods
from core.nas.derive import derive
from core.nas.images import LabelledImages
from core.nas.loop import gradients
from core.nas.methods.operation_dropping import OperationDropping, bound, drop
from core.nas.search import SearchConfig, SearchState, run
from core.nas.space import CELL_SPACES, Space
from core.nas.supernet import Supernet

Halves = tuple[LabelledImages, LabelledImages]


def begin(cells: str, nodes: int = 2) -> tuple[SearchState, OperationDropping]:
    space = Space(channels=2, layers=3, nodes=nodes, input_channels=1, cells=cells)
    supernet = Supernet(space, 10, torch.Generator().manual_seed(0))
    method = methods.create("op-dropping", supernet, sweeps=1)
    assert isinstance(method, OperationDropping)
    return SearchState(supernet, method), method


def test_the_bound_is_the_mean_and_a_bonus_for_the_little_tried() -> None:
    got = bound(torch.tensor([[3.0, 1.0]]), torch.tensor([[4.0, 2.0]]))
    bonus = [math.sqrt(2 * math.log(6) / n) for n in (4, 2)]
    assert got[0].tolist() == pytest.approx([0.75 + bonus[0], 0.5 + bonus[1]])
    assert got[0, 1] > got[0, 0]  # worse on average, but hardly tried
    even = bound(torch.tensor([[3.0, 1.0]]), torch.tensor([[4.0, 4.0]]))
    assert even[0, 0] - even[0, 1] == pytest.approx(0.5)


def test_what_is_dropped_weighs_nothing_and_has_no_gradient() -> None:
    state, method = begin("nas-bench-201")
    supernet = state.supernet
    gone = torch.zeros(3, 5, dtype=torch.bool)
    gone[0, 1] = gone[0, 3] = gone[2, 4] = True
    method.live["normal"][gone] = False
    weights = method.relax("normal", supernet.alphas()["normal"])
    assert (weights[gone] == 0).all()
    assert (weights[~gone] > 0).all()
    supernet.relaxation = method.relax
    torch.manual_seed(0)
    loss = F.cross_entropy(supernet(torch.randn(4, 1, 8, 8)), torch.arange(4))
    (slope,) = gradients(loss, supernet.alpha_parameters())
    assert slope is not None
    assert (slope[gone] == 0).all()
    assert (slope[~gone] != 0).sum() >= 11  # `none` of a kept edge included


def test_an_edges_last_operation_still_has_a_weight() -> None:
    state, method = begin("s3")
    method.live["normal"][:] = False
    method.live["normal"][:, 2] = True
    alphas = state.supernet.alphas()["normal"]
    weights = method.relax("normal", alphas)
    torch.testing.assert_close(weights[:, 2], alphas[:, 2].exp() / (2 + alphas[:, 2].exp()))
    assert torch.autograd.grad(weights.sum(), alphas)[0][:, 2].min() > 0


@pytest.mark.parametrize("cells", CELL_SPACES)
def test_one_operation_per_edge_is_left_and_a_path(cells: str, halves: Halves) -> None:
    state, method = begin(cells)
    train, valid = (half.take(torch.arange(16)) for half in halves)
    count = len(state.supernet.space.operations)
    left = []
    config = SearchConfig(epochs=count, batch_size=16, statistics_images=16)
    for record in run(state, train, valid, config):
        left.append({int(n) for live in method.live.values() for n in live.sum(dim=-1)})
        assert all(value > 0 for row in record.alphas_normal for value in row if value)
    assert left == [{count}, *({max(1, count - e)} for e in range(1, count + 1))]
    genotype = derive(state.supernet, method.preference)
    for kind, live in method.live.items():
        for node, edges in enumerate(getattr(genotype, kind)):
            for edge in edges:
                row = state.supernet.space.edge(node, edge.source)
                column = state.supernet.space.operations.index(edge.operation)
                assert live[row, column], "derived from what was dropped"


def test_none_neither_lasts_where_it_cannot_nor_cuts_the_cell() -> None:
    for cells in ("s3", "nas-bench-201"):
        space = Space(channels=2, layers=3, nodes=3, input_channels=1, cells=cells)
        operations = space.operations
        none = operations.index("none")
        live = torch.ones(space.edges, len(operations), dtype=torch.bool)
        scores = torch.rand(live.shape, generator=torch.Generator().manual_seed(0)).double()
        scores[:, none] = 2.0  # always the best
        for _ in operations:
            drop(live, scores, space)
        assert (live.sum(dim=-1) == 1).all()
        if space.cell.kept is not None:
            assert not live[:, none].any()
        else:  # all that can be cut is; one way through is left
            assert 1 <= (~live[:, none]).sum() < space.edges


def test_the_lowest_score_goes() -> None:
    space = Space(channels=2, layers=3, nodes=1, input_channels=1, cells="s3")
    live = torch.tensor([[True, True, True], [False, True, True]])
    drop(live, torch.tensor([[0.3, 0.2, 0.1], [0.0, 0.2, 0.3]]), space)
    assert live.tolist() == [[True, True, False], [False, False, True]]


def test_measuring_changes_nothing(halves: Halves) -> None:
    state, method = begin("s3")
    before = {name: value.clone() for name, value in state.supernet.state_dict().items()}
    config = SearchConfig(epochs=1, batch_size=16)
    method.begin(0, config)
    first = method._measured(halves[1], config)
    second = method._measured(halves[1], config)
    assert all(torch.equal(first[kind], second[kind]) for kind in first)
    after = state.supernet.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
