"""The search finds a planted subset, is dearer to no price, and resumes to the bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from core.nas.classifier import ImageClassifier
from core.nas.images import LabelledImages
from core.nas.pareto import non_dominated
from core.nas.pruning.channels import ChannelComponents
from core.nas.pruning.components import by_group
from core.nas.pruning.fitting import filled
from core.nas.pruning.subset import Subset, run, search
from core.nas.pruning.subset_config import SubsetConfig
from core.nas.pruning.subset_state import SubsetState
from tests.unit.nas.pruning.networks import tiny

CHANNELS, USEFUL = 6, (1, 4)
CONFIG = SubsetConfig(
    epochs=14,
    batch_size=50,
    learning_rate=0.2,
    weight_decay=0.0,
    augment="none",
    gamma=0.4,
    theta_rate=0.2,
)


class _Weighed(ImageClassifier):
    """Two layers on the means of image channels, each times its mask."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__(24, 4, generator)
        self.masks = torch.ones(CHANNELS)
        self.hidden = nn.Linear(CHANNELS, 24)
        for parameter in self.hidden.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) / 2

    def trunk(self, images: Tensor) -> Tensor:
        weighed = images.mean(dim=(2, 3)) * self.masks
        return self.hidden(weighed).relu()[:, :, None, None]


class InputChannels:
    """The channels of the images as components, all of one price."""

    def __init__(self, seed: int) -> None:
        self.model = _Weighed(torch.Generator().manual_seed(seed))
        self.sizes: Mapping[str, int] = {"input": CHANNELS}

    def put(self, masks: Tensor) -> None:
        self.model.masks = masks

    def cost(self, masks: Tensor) -> Tensor:
        return masks.double().mean()

    def feasible(self, scores: Tensor, threshold: float = 0.0) -> Tensor:
        kept = scores > threshold
        kept[int(scores.argmax())] = True
        return kept

    def fit(self, scores: Tensor, target: float) -> Tensor:
        return filled(self, scores, target)

    def redraw(self, generator: torch.Generator) -> None:
        self.model.load_state_dict(_Weighed(generator).state_dict())


def planted(seed: int) -> tuple[LabelledImages, LabelledImages]:
    """Images whose class is which of two of six channels are bright; the others are noise."""
    generator = torch.Generator().manual_seed(100 + seed)
    bright = torch.randint(2, (400, CHANNELS), generator=generator)
    noise = 40 * torch.randn(400, CHANNELS, 2, 2, generator=generator)
    images = (90 + 80 * bright[:, :, None, None] + noise).clamp(0, 255).to(torch.uint8)
    labels = 2 * bright[:, USEFUL[0]] + bright[:, USEFUL[1]]
    return LabelledImages.measured(images, labels, 4).halves(seed)


def found(seed: int, config: SubsetConfig) -> Subset:
    return search(InputChannels(seed), *planted(seed), replace(config, seed=seed))


@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_planted_subset_is_found(seed: int, noise: bool) -> None:
    subset = found(seed, replace(CONFIG, noise=noise))
    assert subset.mask.nonzero().flatten().tolist() == list(USEFUL)
    assert subset.cost == pytest.approx(len(USEFUL) / CHANNELS)
    assert subset.history[-1].valid_accuracy > 0.85


def test_it_is_found_without_the_weights_that_learned_beside_it() -> None:
    subset = found(0, replace(CONFIG, epochs=30, resample_steps=20))
    assert subset.mask.nonzero().flatten().tolist() == list(USEFUL)


def test_a_target_takes_the_price_that_gives_it() -> None:
    subset = found(0, replace(CONFIG, gamma=0.0, target=0.34))
    assert subset.mask.nonzero().flatten().tolist() == list(USEFUL)
    assert subset.history[-1].gamma > 0


def test_higher_prices_never_leave_more() -> None:
    """With the same images, weights and draws for all."""
    prices = (0.0, 0.4, 6.0, 1e4)
    sweep = [found(0, replace(CONFIG, gamma=gamma)) for gamma in prices]
    costs = [each.cost for each in sweep]
    assert costs == sorted(costs, reverse=True)
    # Free components that are of use stay, whatever becomes of the others.
    assert sweep[0].mask[list(USEFUL)].all()
    assert costs[-1] == pytest.approx(1 / CHANNELS)
    front = non_dominated([(each.history[-1].valid_loss, each.cost) for each in sweep])
    assert 1 in front
    assert costs[front[-1]] == costs[-1]


def test_a_huge_price_leaves_what_a_network_cannot_be_without() -> None:
    components = ChannelComponents(tiny(CHANNELS, 4), torch.zeros(1, CHANNELS, 8, 8), chunks=4)
    images = LabelledImages.measured(
        torch.randint(256, (80, CHANNELS, 8, 8), generator=torch.Generator().manual_seed(0)).to(
            torch.uint8
        ),
        torch.arange(80) % 4,
        4,
    )
    subset = search(components, *images.halves(0), replace(CONFIG, batch_size=8, gamma=1e4))
    smallest = components.feasible(torch.tensor(subset.history[-1].theta), float("inf"))
    assert torch.equal(subset.mask, smallest)
    assert [int(part.sum()) for part in by_group(smallest, components.sizes).values()] == [1, 0]


@pytest.mark.parametrize("changed", [{}, {"target": 0.5, "resample_steps": 5}])
def test_a_search_resumes_to_the_same_bits(changed: dict[str, float]) -> None:
    config = replace(CONFIG, epochs=4, **changed)
    halves = planted(0)
    whole, saved = SubsetState(InputChannels(0), config), b""
    records = []
    for record in run(whole, *halves, config):
        records.append(replace(record, seconds=0.0))
        if record.epoch == 2:
            saved = save(whole.tensors())
    again = run(SubsetState(InputChannels(0), config), *halves, config)
    assert [replace(r, seconds=0.0) for r in again] == records
    resumed = SubsetState(InputChannels(9), config)
    resumed.load(load(saved))
    rest = [replace(r, seconds=0.0) for r in run(resumed, *halves, config, measured=True)]
    assert rest == records[3:]
    for name, value in whole.tensors().items():
        assert torch.equal(value, resumed.tensors()[name]), name


def test_who_hears_may_end_it() -> None:
    class Cancelled(Exception):
        pass

    def heard(record: object) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        search(InputChannels(0), *planted(0), CONFIG, heard=heard)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="cold"):
        replace(CONFIG, cold=2.0)
    with pytest.raises(ValueError, match="target"):
        replace(CONFIG, target=1.5)
