"""What is frozen does not move by a bit, and adapters begin as nothing."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from core.nas.images import LabelledImages
from core.nas.retrain import RetrainConfig, RetrainState, retrain
from tests.benchmarks.few_shot.tuning import TUNINGS, Adapter, moving, prepare
from tests.unit.nas.pruning.networks import CLASSES, backbone

CONFIG = RetrainConfig(epochs=1, batch_size=10, learning_rate=0.1, augment="none")


def images() -> LabelledImages:
    generator = torch.Generator().manual_seed(3)
    pixels = torch.randint(0, 256, (20, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return LabelledImages.measured(pixels, torch.arange(20) % CLASSES, CLASSES)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_adapters_begin_as_nothing_to_the_bit(name: str) -> None:
    model = backbone(name)
    given = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    before = model(given)
    prepare(model, "adapters", torch.Generator().manual_seed(2))
    assert torch.equal(model.eval()(given), before)
    adapters = [each for each in model.modules() if isinstance(each, Adapter)]
    norms = [each for each in model.modules() if isinstance(each, nn.BatchNorm2d)]
    assert len(adapters) == len(norms) > 0
    with torch.no_grad():
        adapters[0].up.bias.fill_(1.0)
    assert not torch.equal(model(given), before)


@pytest.mark.parametrize("how", TUNINGS)
def test_only_what_may_move_does(how: str) -> None:
    model, few = backbone("resnet18"), images()
    widths = [m.num_features for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    classifier = sum(each.numel() for each in model.classifier.parameters())
    whole = sum(each.numel() for each in model.parameters())
    prepare(model, how, torch.Generator().manual_seed(2))  # type: ignore[arg-type]
    before = copy.deepcopy(dict(model.named_parameters()))
    list(retrain(RetrainState(model, CONFIG), few, few, CONFIG))
    moved = {
        name for name, value in model.named_parameters() if not torch.equal(value, before[name])
    }
    expected = {name for name, value in model.named_parameters() if value.requires_grad}
    assert moved <= expected
    patches = sum(2 * (w // 4) * w + w // 4 + w for w in widths)
    counted = {
        "everything": whole,
        "adapters": classifier + patches + 2 * sum(widths),
        "head": classifier,
    }
    assert sum(each.numel() for each in moving(model)) == counted[how]
    assert {"classifier.weight", "classifier.bias"} <= moved
    assert any(".up." in name for name in moved) == (how == "adapters")


def test_unknown_ways_and_models_without_norms_are_refused() -> None:
    generator = torch.Generator().manual_seed(0)
    with pytest.raises(ValueError, match="tuning: 'all' is not in everything, adapters, head"):
        prepare(backbone("resnet18"), "all", generator)  # type: ignore[arg-type]
    plain = backbone("resnet18")
    for name, module in list(plain.named_modules()):
        if isinstance(module, nn.BatchNorm2d):
            plain.set_submodule(name, nn.Identity())
    with pytest.raises(ValueError, match="need batch normalisations"):
        prepare(plain, "adapters", generator)
