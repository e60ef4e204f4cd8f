"""The guard ends what collapses, with the last healthy alphas, and leaves healthy searches be."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load, save

from core.nas import methods
from core.nas.derive import derive
from core.nas.guard import Guard, decided_skips
from core.nas.guard_config import LAG, WINDOW, GuardConfig
from core.nas.images import LabelledImages
from core.nas.loop import TrainingConfig
from core.nas.methods.base import Method
from core.nas.search import EpochRecord, SearchConfig, SearchState, run
from core.nas.space import Space
from core.nas.supernet import Supernet
from tests.unit.nas.methods.planted import plant

Halves = tuple[LabelledImages, LabelledImages]

SPACE = Space(channels=2, layers=3, nodes=2, input_channels=1, cells="s2")
SKIPS = ["skip_connect"] * 5
CONVOLUTIONS = ["sep_conv_3x3"] * 5
CONFIG = SearchConfig(
    epochs=6,
    batch_size=32,
    learning_rate=0.003,
    alpha_learning_rate=0.1,
    augment="none",
    guard=GuardConfig(eigenvalue_every=0),
)


def planted(normal: list[str]) -> tuple[SearchState, Halves]:
    supernet, images = plant(SPACE, {"normal": normal, "reduction": CONVOLUTIONS}, images=128)
    return SearchState(supernet), images.halves(0)


def test_fires_where_skips_take_over_and_goes_back_before_it() -> None:
    state, halves = planted(SKIPS)
    kept: dict[int, dict[str, torch.Tensor]] = {}
    records: list[EpochRecord] = []
    for record in run(state, *halves, CONFIG):
        records.append(record)
        kept[record.epoch] = state.tensors()
    last = records[-1]
    assert last.epoch < CONFIG.epochs
    assert last.stopped is not None
    assert last.stopped.startswith("collapsed: ")
    assert "skip connections" in last.stopped
    assert [record.stopped for record in records[:-1]] == [None] * (len(records) - 1)
    crowded = [r.epoch for r in records if (r.decided_skips or 0) > 2]
    assert crowded == [last.epoch - 2, last.epoch - 1, last.epoch]
    healthy = kept[max(1, last.epoch - 3)]
    assert torch.equal(kept[last.epoch]["model.alphas_normal"], healthy["model.alphas_normal"])
    assert not torch.equal(kept[last.epoch]["model.stem"], healthy["model.stem"])
    assert list(run(state, *halves, CONFIG)) == []  # and it stays ended


def test_leaves_a_healthy_search_be() -> None:
    state, halves = planted(CONVOLUTIONS)
    records = list(run(state, *halves, CONFIG))
    assert [record.epoch for record in records] == list(range(7))
    assert all(record.stopped is None for record in records)
    assert max(record.decided_skips or 0 for record in records) <= 2


def test_ends_what_has_converged_with_what_it_has() -> None:
    state, halves = planted(CONVOLUTIONS)
    guard = GuardConfig(eigenvalue_every=0, stable_epochs=2, settled_entropy=0.95)
    records = list(run(state, *halves, replace(CONFIG, epochs=20, guard=guard)))
    last = records[-1]
    assert 3 <= last.epoch < 20
    assert last.stopped is not None
    assert last.stopped.startswith("converged: ")
    assert last.entropy_normal <= 0.95 * math.log(2)
    weights = state.supernet.alphas_normal.detach().softmax(dim=-1)
    assert last.alphas_normal[0][0] == pytest.approx(weights[0, 0].item(), abs=1e-4)


class Steeper(Method):
    """DARTS whose head grows: so does the curvature, and nothing else happens."""

    def finish(self, valid: LabelledImages, config: TrainingConfig) -> None:
        with torch.no_grad():
            for parameter in self.supernet.classifier.parameters():
                parameter.mul_(1.15)


def growing(halves: Halves) -> tuple[SearchState, Halves, SearchConfig]:
    supernet = Supernet(SPACE, 10, torch.Generator().manual_seed(0))
    few = tuple(half.take(torch.arange(24)) for half in halves)
    config = SearchConfig(
        epochs=16,
        batch_size=24,
        learning_rate=0.0,
        learning_rate_min=0.0,
        alpha_learning_rate=1e-3,
        statistics_images=24,
        guard=GuardConfig(
            growth=0.75, eigenvalue_every=1, eigenvalue_images=24, eigenvalue_from=0.0
        ),
    )
    return SearchState(supernet, Steeper(supernet)), (few[0], few[1]), config


def test_fires_where_curvature_grows_and_goes_back_five_epochs(halves: Halves) -> None:
    state, few, config = growing(halves)
    records, alphas, saved = [], {}, b""
    for record in run(state, *few, config):
        records.append(record)
        alphas[record.epoch] = state.supernet.alphas_normal.detach().clone()
        if record.epoch == 7:
            saved = save(state.tensors())
    last = records[-1]
    assert last.epoch == WINDOW + LAG  # as soon as there are two windows
    assert last.stopped is not None
    assert last.stopped.startswith("collapsed: the largest eigenvalue grew ")
    seen = [record.eigenvalue or math.nan for record in records[1:]]
    assert sum(seen[LAG:]) / sum(seen[:WINDOW]) > 1 / 0.75
    assert torch.equal(alphas[last.epoch], alphas[last.epoch - LAG])
    assert not torch.equal(alphas[last.epoch - 1], alphas[last.epoch - LAG])

    resumed, _, _ = growing(halves)
    resumed.load(load(saved))
    rest = list(run(resumed, *few, config))
    assert [(r.eigenvalue, r.stopped) for r in rest] == [
        (r.eigenvalue, r.stopped) for r in records[8:]
    ]
    first, second = state.tensors(), resumed.tensors()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("solved", [True, False])
def test_the_sharpness_of_a_solved_head_is_no_curvature(halves: Halves, solved: bool) -> None:
    state, few, config = growing(halves)
    assert config.guard is not None

    def eigenvalue(sharper: float) -> float:
        with torch.no_grad():
            for parameter in state.supernet.classifier.parameters():
                parameter.mul_(sharper)
        guard = Guard(state.method)
        found = guard.look(few[1], config.guard, seed=0, solved=solved).eigenvalue
        assert found is not None
        return found

    once, ten_times = eigenvalue(1.0), eigenvalue(10.0)
    if solved:
        assert ten_times == pytest.approx(once, rel=1e-3)
    else:
        assert ten_times > 2 * once


def test_measures_as_often_as_asked_and_not_at_first(halves: Halves) -> None:
    state, few, config = growing(halves)
    guard = GuardConfig(eigenvalue_every=2, eigenvalue_images=24, eigenvalue_from=0.5, growth=0.0)
    records = list(run(state, *few, replace(config, epochs=8, guard=guard)))
    measured = [record.epoch for record in records if record.eigenvalue is not None]
    assert measured == [5, 7]


def test_curvature_is_left_out_where_it_could_never_end_the_search() -> None:
    config = GuardConfig(eigenvalue_from=0.5)
    assert config.within(19).eigenvalue_every == 0
    assert config.within(20) == config


def test_looking_changes_nothing(halves: Halves) -> None:
    state, few, config = growing(halves)
    guard = Guard(state.method)
    before = {name: value.clone() for name, value in state.supernet.state_dict().items()}
    sight = guard.look(few[1], config.guard or GuardConfig(), seed=0)
    assert sight.eigenvalue is not None
    assert sight.stopped is None
    after = state.supernet.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_resting_alphas_are_not_looked_at() -> None:
    space = Space(channels=8, layers=3, nodes=1, input_channels=1, cells="s2", partial=4)
    supernet = Supernet(space, 3, torch.Generator().manual_seed(0))
    method = methods.create("pc-darts", supernet)
    guard = Guard(method)
    images = torch.zeros(4, 1, 8, 8, dtype=torch.uint8)
    valid = LabelledImages.measured(images, torch.arange(4) % 3, 3)
    method.begin(0, SearchConfig(epochs=10))
    sight = guard.look(valid, GuardConfig(), seed=0)
    assert (sight.eigenvalue, sight.decided_skips, int(guard.seen)) == (None, 0, 0)


def test_only_clear_skips_count() -> None:
    supernet = Supernet(SPACE, 3, torch.Generator().manual_seed(0))
    method = methods.create("darts", supernet)
    with torch.no_grad():
        supernet.alphas_normal.zero_()
        supernet.alphas_normal[:, 0] = 0.2  # 1.22 times as heavy
        supernet.alphas_normal[1, 0] = 0.3
    genotype = derive(supernet)
    assert genotype.skip_count == 4
    assert decided_skips(method, genotype) == 1


def test_the_nas_bench_201_cell_gets_convolutions(halves: Halves) -> None:
    space = Space(channels=4, layers=3, nodes=3, input_channels=1, cells="nas-bench-201")
    found: list[str] = []
    for seed in range(3):
        state = SearchState(Supernet(space, 10, torch.Generator().manual_seed(seed)))
        config = SearchConfig(
            epochs=8,
            batch_size=24,
            learning_rate=0.1,
            alpha_learning_rate=0.02,
            seed=seed,
            guard=GuardConfig(eigenvalue_every=0),
        )
        assert list(run(state, *halves, config))[-1].stopped is None
        cell = derive(state.supernet, max_skips=2).normal
        found += [edge.operation for node in cell for edge in node]
    convolutions = sum(operation.startswith("conv") for operation in found)
    assert convolutions >= 6 > 2 * found.count("skip_connect")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("patience", 6),
        ("patience", 0),
        ("growth", 1.5),
        ("eigenvalue_images", 1),
        ("max_skips", -1),
    ],
)
def test_impossible_settings_are_refused(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        GuardConfig(**{field: value})
