"""Costs of tables are costs of built networks, mixtures cost what they are mixed of."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from core.nas.export import onnx_bytes
from core.nas.latency import conditions, latency_costs, measure, onnx_latency
from core.nas.network import Network, flops, parameter_count
from core.nas.objectives import (
    CostTable,
    flop_costs,
    generalisation_gap,
    parameter_costs,
    tabulate,
)
from core.nas.selection.variation import uniform_sample
from core.nas.space import CELL_SPACES, Space

SIZES = [
    *(Space(channels=4, layers=5, nodes=3, cells=cells) for cells in CELL_SPACES),
    Space(channels=6, layers=3, nodes=4, input_channels=1, stem_stride=4),
    Space(channels=8, layers=4, nodes=2, cells="s3", partial=2),
    Space(channels=20, layers=6, nodes=1),  # too wide to fold
]


def built(space: Space, seed: int) -> Network:
    draws = torch.Generator().manual_seed(seed)
    return Network(space, uniform_sample(space, draws), 7, draws)


@pytest.mark.parametrize("space", SIZES, ids=str)
def test_tables_agree_with_built_networks(space: Space) -> None:
    parameters = parameter_costs(space, 7)
    work = {side: flop_costs(space, 7, side) for side in (8, 21)}
    for seed in range(4):
        network = built(space, seed)
        assert parameters.cost(network.genotype) == parameter_count(network)
        for side, table in work.items():
            assert table.cost(network.genotype) == flops(network, side)


def test_tables_survive_json_and_refuse_strangers() -> None:
    space = Space(channels=4, layers=3, nodes=2)
    table = parameter_costs(space, 7)
    value = json.loads(json.dumps(table.to_dict()))
    assert CostTable.from_dict(value) == table
    for spoilt in (
        {**value, "space": replace(space, nodes=3).to_dict()},
        {**value, "edges": {"normal": value["edges"]["normal"]}},
        {name: value[name] for name in ("space", "base")},
    ):
        with pytest.raises(ValueError, match="costs: expected"):
            CostTable.from_dict(spoilt)
    with pytest.raises(ValueError, match="of darts with 3 nodes"):
        table.cost(built(replace(space, nodes=3), 0).genotype)


def test_the_generalisation_gap_by_hand_and_its_gradient() -> None:
    train, valid = torch.tensor(1.0, requires_grad=True), torch.tensor(1.4, requires_grad=True)
    loss = generalisation_gap(train, valid)
    assert loss.item() == pytest.approx(1.2)
    assert torch.autograd.grad(loss, (train, valid)) == (0.5, 0.5)
    # Overfitting on the validation half costs too.
    assert generalisation_gap(valid, train, coefficient=1.0).item() == pytest.approx(1.8)
    assert torch.equal(generalisation_gap(train, valid, coefficient=0.0), train)
    with pytest.raises(ValueError, match="coefficient"):
        generalisation_gap(train, valid, coefficient=-1.0)


def test_a_latency_table_times_what_the_networks_run(monkeypatch: pytest.MonkeyPatch) -> None:
    # A clock that ticks once per multiply-add makes seconds of work: then the sum is known.
    space = Space(channels=20, layers=3, nodes=2)
    with FlopCounterMode(display=False) as ticks:
        table = latency_costs(
            space, 8, 7, batch_size=3, runs=2, clock=lambda: ticks.get_total_flops() / 2
        )
    exact = tabulate(space, 8, 7, lambda m, x: _work(m, x), batch_size=3, convolutions="auto")
    assert table == exact
    assert table.cost(built(space, 0).genotype) == pytest.approx(
        _work(built(space, 0).eval(), torch.zeros(3, 3, 8, 8)), rel=1e-12
    )


def _work(module: torch.nn.Module, images: torch.Tensor) -> float:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(images)
    return counter.get_total_flops() / 2


def test_conditions_name_all_that_a_table_depends_on() -> None:
    space = Space(channels=4, layers=3)
    keys = {
        conditions(space, 16),
        conditions(space, 32),
        conditions(space, 16, batch_size=8),
        conditions(replace(space, channels=8), 16),
    }
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    keys.add(conditions(space, 16))
    torch.set_num_threads(threads)
    assert len(keys) == 5
    assert conditions(space, 16) == conditions(space, 16)


def test_quartiles_of_a_known_clock() -> None:
    durations = iter([1.0, 5.0, 2.0, 4.0, 3.0])
    now = [0.0]
    calls = []

    def clock() -> float:
        return now[0]

    def call() -> None:
        calls.append(None)
        if len(calls) > 3:  # after the warm-up
            now[0] += next(durations)

    found = measure(call, runs=5, clock=clock)
    assert (found.low, found.median, found.high, found.runs) == (2.0, 3.0, 4.0, 5)
    with pytest.raises(ValueError, match="runs"):
        measure(call, runs=0)


@pytest.mark.slow
def test_the_exported_model_is_timed() -> None:
    network = built(Space(channels=2, layers=3, nodes=1, cells="s2"), 0)
    exported = onnx_bytes(network, torch.full((3,), 0.5), torch.full((3,), 0.2), 8)
    found = onnx_latency(exported, batch_size=4, runs=5)
    assert 0 < found.low <= found.median <= found.high
    ticks = iter(range(100))
    assert onnx_latency(exported, runs=5, clock=lambda: next(ticks)).median == 1
    with pytest.raises(ValueError, match="0 threads"):
        onnx_latency(exported, threads=0)
