"""What is left of a network is trained by the loop that trains derived ones."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load, save

from core.nas.images import LabelledImages
from core.nas.pruning.backbone import Backbone, redraw
from core.nas.pruning.channels import ChannelComponents
from core.nas.retrain import RetrainConfig, RetrainState, retrain
from tests.unit.nas.pruning.networks import tiny

CONFIG = RetrainConfig(
    epochs=4, batch_size=20, learning_rate=0.1, label_smoothing=0.1, ema=0.5, augment="none"
)


@pytest.fixture(scope="module")
def stripes() -> tuple[LabelledImages, LabelledImages]:
    """Bright rows, bright columns, or neither."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(120, (120, 3, 8, 8), generator=generator)
    labels = torch.arange(120) % 3
    images[labels == 0, :, ::2] += 100
    images[labels == 1, :, :, ::2] += 100
    return LabelledImages.measured(images.to(torch.uint8), labels, 3).halves(0)


def pruned() -> Backbone:
    components = ChannelComponents(tiny(classes=3), torch.zeros(1, 3, 8, 8), chunks=4)
    scores = torch.arange(components.count)
    return components.pruned(components.fit(scores, 0.5))


@pytest.mark.parametrize("fresh", [True, False])
def test_a_pruned_network_learns_from_fresh_or_kept_weights(
    stripes: tuple[LabelledImages, LabelledImages], fresh: bool
) -> None:
    model = pruned()
    before = model.body[0].weight.clone()
    if fresh:
        redraw(model, torch.Generator().manual_seed(1))
    assert torch.equal(before, model.body[0].weight) != fresh
    config = replace(CONFIG, epochs=12)
    records = list(retrain(RetrainState(model, config), *stripes, config))
    assert records[-1].valid_accuracy > 0.9 > records[0].valid_accuracy


def test_it_resumes_to_the_same_bits(stripes: tuple[LabelledImages, LabelledImages]) -> None:
    whole, saved = RetrainState(pruned(), CONFIG), b""
    for record in retrain(whole, *stripes, CONFIG):
        if record.epoch == 2:
            saved = save(whole.tensors())
    resumed = RetrainState(pruned(), CONFIG)
    resumed.load(load(saved))
    list(retrain(resumed, *stripes, CONFIG, measured=True))
    for name, value in whole.tensors().items():
        assert torch.equal(value, resumed.tensors()[name]), name


def test_what_only_derived_networks_have_is_refused(
    stripes: tuple[LabelledImages, LabelledImages],
) -> None:
    dropping = replace(CONFIG, drop_path=0.1)
    with pytest.raises(ValueError, match="drop_path"):
        next(retrain(RetrainState(pruned(), dropping), *stripes, dropping))
    with pytest.raises(ValueError, match="auxiliary"):
        RetrainState(pruned(), replace(CONFIG, auxiliary=0.4), side=8)
