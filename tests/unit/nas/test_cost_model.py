"""What networks cost by counting, against the networks themselves; and what jobs teach."""

import math
from dataclasses import replace
from functools import partial
from uuid import uuid4

import pytest
import torch

from core.domain import effort
from core.domain.datasets import DatasetId
from core.domain.searches import Objective, SearchSpec, Selection, StartPolicy, TradeOffs
from core.nas import cost_model, methods, workload
from core.nas.cost_model import Shape
from core.nas.memory import _loss, saved_bytes
from core.nas.network import parameter_count
from core.nas.space import CELL_SPACES, Space
from core.nas.supernet import Supernet
from core.pipelines import derivation

SPACES = [
    Space(channels=4, layers=3, nodes=2),
    Space(channels=8, layers=4, nodes=4, stem_stride=2),
    Space(channels=8, layers=5, nodes=3, cells="nas-bench-201"),
    Space(channels=4, layers=4, nodes=3, cells="s2"),
    Space(channels=4, layers=4, nodes=3, cells="s3"),
]


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_weights_and_maps_are_those_of_the_supernet(space: Space) -> None:
    net = Supernet(space, 5, torch.Generator().manual_seed(0))
    found = workload.supernet(space, 16, 5)
    assert found.weights == pytest.approx(parameter_count(net), rel=0.01)
    two, four = (saved_bytes(partial(_loss, net, (3, 16, 16), n)) for n in (2, 4))
    kept = (four - two) / 2 / cost_model.FLOAT / found.numbers
    assert kept == pytest.approx(cost_model.KEPT, rel=0.25)


def test_every_operation_of_every_space_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {each.cells for each in SPACES} == set(CELL_SPACES)
    for name, cell in CELL_SPACES.items():
        for operation in cell.operations:
            alone = {name: replace(cell, operations=(operation,))}
            bare = {name: replace(cell, operations=("none",))}
            kernels = []
            for spaces in (alone, bare):
                monkeypatch.setattr("core.nas.space.CELL_SPACES", spaces)
                kernels.append(workload.supernet(Space(cells=name), 16, 5).kernels)
            assert (kernels[0] > kernels[1]) is (operation != "none")
        unknown = {name: replace(cell, operations=("conv_7x7",))}
        monkeypatch.setattr("core.nas.space.CELL_SPACES", unknown)
        with pytest.raises(ValueError, match="conv_7x7"):
            workload.supernet(Space(cells=name), 16, 5)


def test_more_of_anything_costs_more() -> None:
    plain = Shape(SPACES[0], 16, 5, images=200, batch_size=32)
    assert plain.steps == 4
    for more in (
        Shape(SPACES[1], 16, 5, images=200, batch_size=32),
        Shape(SPACES[0], 32, 5, images=200, batch_size=32),
        Shape(SPACES[0], 16, 5, images=400, batch_size=32),
        Shape(SPACES[0], 16, 5, images=200, batch_size=16),
        Shape(SPACES[0], 16, 5, images=200, batch_size=32, method="drnas"),
        Shape(SPACES[0], 16, 5, images=200, batch_size=32, paths=2),
    ):
        assert more.epoch() > plain.epoch()
    longer = plain.job(searches=1, searched=4, retrained=8, other=0.0)
    shorter = plain.job(searches=1, searched=4, retrained=4, other=0.0)
    assert longer - shorter == pytest.approx(plain.epoch())  # four of one are one of the other
    saving = Shape(SPACES[0], 16, 5, images=200, batch_size=32, recompute=True)
    assert saving.tensors() < plain.tensors()
    assert set(cost_model.METHODS) == set(methods.METHODS)


@pytest.mark.parametrize(
    ("selection", "alone", "traded"),
    [
        (Selection.MAGNITUDE, 0.1, 3.6),
        (Selection.PERTURBATION, 4.1, 4.1),
        (Selection.BEST_OF, 6.7, 6.7),
        (Selection.JACOBIAN, 0.74, 4.24),
        (Selection.FISHER_RAO, 1.38, 4.88),
    ],
)
def test_what_a_choice_is_worth(selection: Selection, alone: float, traded: float) -> None:
    spec = SearchSpec(DatasetId(uuid4()), "default", selection=selection)
    assert effort.choice(spec) == pytest.approx(alone)
    assert effort.choice(replace(spec, objectives=(Objective.FLOPS,))) == pytest.approx(traded)


def test_what_a_refinement_is_worth() -> None:
    traded = replace(SearchSpec(DatasetId(uuid4()), "default"), objectives=(Objective.FLOPS,))
    refined = replace(traded, trade_offs=TradeOffs.REFINED)
    # 12 at first, three times 6 new and 5 again, a tenth of an epoch each; three tunings.
    assert effort.choice(refined) == pytest.approx(1.2 + 3.3 + 3 * 0.15)
    best_of = replace(refined, selection=Selection.BEST_OF)
    assert effort.choice(best_of) == pytest.approx(6.7 + 3.3 + 3 * 0.15)
    assert effort.choice(replace(refined, objectives=())) == effort.STEP


def test_what_a_race_and_a_retraining_are_worth() -> None:
    spec = SearchSpec(DatasetId(uuid4()), "default", learning_rates=(0.1, 0.2))
    assert effort.race(spec) == pytest.approx(4.0)  # a tenth of two searches of 20 epochs
    assert effort.race(replace(spec, policy=StartPolicy.COLD)) == 0
    assert derivation.units(5) == pytest.approx(cost_model.RETRAIN * (4 + 0.25))


def test_finished_jobs_narrow_the_interval_round_their_own_machine() -> None:
    blind = cost_model.calibrate([])
    one, ten = (cost_model.calibrate([3.0] * count) for count in (1, 10))
    low, half, high = blind.quantiles()
    assert half == 1.0
    assert low == pytest.approx(1 / high)
    assert blind.deviation > one.deviation > ten.deviation > cost_model.WITHIN
    assert 1.0 < one.quantiles()[1] < ten.quantiles()[1] < 3.0
    assert ten.quantiles()[1] == pytest.approx(3.0, rel=0.05)


def test_the_intervals_hold_what_they_promise() -> None:
    """Four machines of five are within, whatever is known of them."""
    random = torch.Generator().manual_seed(0)

    def drawn(count: int, deviation: float) -> list[float]:
        return (torch.randn(count, generator=random) * deviation).exp().tolist()

    for seen in (0, 3):
        inside = 0
        for machine in drawn(400, cost_model.BETWEEN):
            jobs = [machine * each for each in drawn(seen + 1, cost_model.WITHIN)]
            low, _, high = cost_model.calibrate(jobs[:seen]).quantiles()
            inside += low <= jobs[-1] <= high
        assert math.isclose(inside / 400, 0.8, abs_tol=0.06)
