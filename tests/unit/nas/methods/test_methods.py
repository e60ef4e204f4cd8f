"""What holds for every method: it is known by name, runs in every space and resumes to the bit."""

from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import load, save

from core.nas import methods
from core.nas.derive import derive
from core.nas.images import LabelledImages
from core.nas.search import EpochRecord, SearchConfig, SearchState, run
from core.nas.space import CELL_SPACES, Space
from core.nas.supernet import Supernet

Halves = tuple[LabelledImages, LabelledImages]
SETTINGS = {"op-dropping": {"sweeps": 1}}


def begin(name: str, cells: str) -> SearchState:
    channels, partial = (8, 4) if name == "pc-darts" else (2, 1)
    space = Space(
        channels=channels, layers=3, nodes=2, input_channels=1, cells=cells, partial=partial
    )
    supernet = Supernet(space, 10, torch.Generator().manual_seed(0))
    return SearchState(supernet, methods.create(name, supernet, **SETTINGS.get(name, {})))


@pytest.fixture(scope="module")
def few(halves: Halves) -> Halves:
    train, valid = halves
    return train.take(torch.arange(40)), valid.take(torch.arange(40))


@pytest.mark.parametrize("name", methods.METHODS)
def test_resumes_to_the_bit(name: str, few: Halves) -> None:
    config = SearchConfig(
        epochs=3, batch_size=20, learning_rate=0.1, alpha_learning_rate=0.05, seed=3
    )
    whole, saved = begin(name, "s3"), b""
    records: list[EpochRecord] = []
    for record in run(whole, *few, config):
        records.append(record)
        if record.epoch == 1:
            saved = save(whole.tensors())
    resumed = begin(name, "s3")
    resumed.load(load(saved))
    rest = list(run(resumed, *few, config))
    first, second = whole.tensors(), resumed.tensors()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert [r.valid_loss for r in rest] == [r.valid_loss for r in records[2:]]
    assert records[0].alphas_normal != records[-1].alphas_normal


@pytest.mark.parametrize("cells", CELL_SPACES)
@pytest.mark.parametrize("name", methods.METHODS)
def test_takes_a_step_in_every_space(name: str, cells: str, few: Halves) -> None:
    state = begin(name, cells)
    tiny = tuple(half.take(torch.arange(8)) for half in few)
    config = SearchConfig(epochs=1, batch_size=8, statistics_images=8)
    last = list(run(state, tiny[0], tiny[1], config))[-1]
    assert math.isfinite(last.valid_loss)
    assert derive(state.supernet, state.method.preference).skip_count == last.skip_count


@pytest.mark.parametrize("name", methods.METHODS)
def test_its_papers_settings_are_settings(name: str) -> None:
    config = SearchConfig(**methods.PAPERS[name])
    assert config.epochs == 50


def test_every_method_has_a_paper() -> None:
    assert methods.PAPERS.keys() == methods.METHODS.keys()


def test_an_unknown_method_is_refused() -> None:
    supernet = begin("darts", "s2").supernet
    with pytest.raises(ValueError, match="'darst' is not in darts, darts-second-order"):
        methods.create("darst", supernet)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("pc-darts", {}, "partial=4"),
        ("drnas", {"anchor": -1.0}, "anchor"),
        ("drnas", {"anchor": math.nan}, "anchor"),
        ("sdarts-rs", {"first": 0.4}, "0.4 <= 0.3"),
        ("sdarts-rs", {"last": math.nan}, "nan"),
        ("darts-minus", {"decay": "exponential"}, "exponential"),
        ("op-dropping", {"sweeps": 0}, "sweeps"),
    ],
)
def test_impossible_settings_are_refused(
    name: str, settings: dict[str, object], message: str
) -> None:
    supernet = begin("darts", "s2").supernet
    with pytest.raises(ValueError, match=message):
        methods.create(name, supernet, **settings)
