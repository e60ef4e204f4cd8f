"""Masks of channels and blocks are their removal: in what is computed and in what it costs."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor, nn

from core.nas.classifier import ImageClassifier
from core.nas.network import parameter_count
from core.nas.objectives import multiply_adds
from core.nas.pruning.backbone import Backbone, redraw
from core.nas.pruning.blocks import identity_blocks
from core.nas.pruning.channels import BLOCKS, ChannelComponents
from core.nas.pruning.components import by_group, mask_from_dict, mask_to_dict
from core.nas.pruning.controls import magnitude_scores, random_scores
from core.nas.pruning.network_cost import NetworkCost
from tests.unit.nas.pruning.networks import GIVEN, SIDE, backbone, picture, tiny


@pytest.fixture(scope="module", params=GIVEN)
def model(request: pytest.FixtureRequest) -> Backbone:
    return backbone(request.param)


def scores(components: ChannelComponents, seed: int) -> Tensor:
    return torch.randn(components.count, generator=torch.Generator().manual_seed(seed))


def test_masked_is_pruned(model: Backbone) -> None:
    """In answers, in parameters and in multiply-adds, to the last one."""
    images = picture()
    learned = ChannelComponents(model, images, chunks=4)
    counted = NetworkCost(learned.layers, learned.count, "multiply-adds")
    assert learned.whole == parameter_count(model)
    assert float(counted(torch.ones(learned.count))) == multiply_adds(model, images)
    for seed in (0, 1):
        mask = learned.feasible(scores(learned, seed))
        pruned = learned.pruned(mask).eval()
        assert round(float(learned.cost(mask)) * learned.whole, 3) == parameter_count(pruned)
        assert float(counted(mask)) == multiply_adds(pruned, images)
        assert parameter_count(pruned) < parameter_count(model)
        with torch.no_grad():
            learned.put(mask)
            answers = model(images)
            learned.put(None)
            assert torch.allclose(answers, pruned(images), atol=1e-4, rtol=1e-4)
            assert not torch.allclose(answers, model(images), atol=1e-4, rtol=1e-4)


def test_the_cost_has_the_gradient_of_its_differences() -> None:
    components = ChannelComponents(tiny(), torch.zeros(1, 3, 8, 8), chunks=4)
    masks = torch.rand(components.count, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(components.cost, (masks,))


def test_multiply_adds_may_be_what_costs() -> None:
    images = torch.zeros(1, 3, 8, 8)
    components = ChannelComponents(tiny(), images, chunks=4, measure="multiply-adds")
    mask = components.fit(torch.arange(components.count), 0.5)
    share = multiply_adds(components.pruned(mask).eval(), images) / components.whole
    assert float(components.cost(mask)) == pytest.approx(share)
    assert share <= 0.5


def test_a_channel_is_cheaper_the_fewer_there_are() -> None:
    """A sum of fixed prices, one for each component, would not know."""
    components = ChannelComponents(tiny(), torch.zeros(1, 3, 8, 8), chunks=4, blocks=False)
    whole = torch.ones(components.count, dtype=torch.float64)
    prices = []
    for mask in (whole, 0.5 * whole):
        mask = mask.clone().requires_grad_()
        prices.append(torch.autograd.grad(components.cost(mask), mask)[0])
    assert (prices[1] < prices[0]).all()


def test_blocks_are_those_with_an_identity_for_a_shortcut() -> None:
    found = identity_blocks(backbone("resnet18"), picture())
    assert [block.name for block in found] == [
        f"body.{name}" for name in ("layer1.0", "layer1.1", "layer2.1", "layer3.1", "layer4.1")
    ]
    assert all(block.rectified for block in found)
    found = identity_blocks(backbone("mobilenet_v2"), picture())
    assert len(found) == 10
    assert not any(block.rectified for block in found)


def test_a_closed_block_leaves_nothing_of_its_branch() -> None:
    components = ChannelComponents(tiny(), torch.zeros(1, 3, 8, 8), chunks=4)
    mask = torch.ones(components.count)
    by_group(mask, components.sizes)[BLOCKS].zero_()
    pruned = components.pruned(mask)
    assert isinstance(pruned.body[3], nn.Identity)
    assert parameter_count(pruned) == float(components.cost(mask)) * components.whole


def test_every_group_keeps_its_best_chunk() -> None:
    components = ChannelComponents(tiny(), torch.zeros(1, 3, 8, 8), chunks=4)
    wanted = scores(components, 4) - 100
    mask = components.feasible(wanted)
    for name, part in by_group(mask, components.sizes).items():
        assert int(part.sum()) == (0 if name == BLOCKS else 1)
        if name != BLOCKS:
            assert int(part.int().argmax()) == int(
                by_group(wanted, components.sizes)[name].argmax()
            )
    assert components.pruned(mask)(torch.zeros(2, 3, 8, 8)).shape == (2, 5)
    with pytest.raises(ValueError, match="nothing is left"):
        components.pruned(torch.zeros(components.count))


def test_controls_have_the_size_that_is_wanted() -> None:
    components = ChannelComponents(backbone("resnet18"), picture())
    drawn = random_scores(components, torch.Generator().manual_seed(0))
    by_size = (magnitude_scores(components, "kernels"), magnitude_scores(components, "scales"))
    for share, scores in product((0.25, 0.5), (drawn, *by_size)):
        mask = components.fit(scores, share)
        assert 0.98 * share < float(components.cost(mask)) <= share
        assert torch.equal(mask, components.fit(scores, share))
        kept = by_group(mask, components.sizes)
        assert all(part.any() for name, part in kept.items() if name != BLOCKS)


def test_magnitude_keeps_what_is_large() -> None:
    components = ChannelComponents(tiny(), torch.zeros(1, 3, 8, 8), chunks=4, blocks=False)
    first = components.model.body[0].weight.data
    first[:2] *= 0.01  # the first chunk of the first group
    (group,) = components.sizes
    found = by_group(magnitude_scores(components), components.sizes)[group]
    assert int(found.argmin()) == 0
    components.model.body[1].weight.data[2:4] *= 0.01
    found = by_group(magnitude_scores(components, "scales"), components.sizes)[group]
    assert int(found.argmin()) == 1


def test_masks_travel_as_json() -> None:
    sizes = {"a": 2, "b": 3}
    mask = torch.tensor([True, False, False, True, True])
    value = mask_to_dict(mask, sizes)
    assert value == {"a": [1, 0], "b": [0, 1, 1]}
    assert torch.equal(mask_from_dict(value, sizes), mask)
    with pytest.raises(ValueError, match="groups"):
        mask_from_dict(value, {"a": 3, "b": 2})


def test_networks_whose_channels_mix_are_refused() -> None:
    """Channels in another order are not where the dependency graph believes them."""

    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
            self.second, self.last = nn.Conv2d(8, 8, 3), nn.Linear(8, 2)

        def forward(self, images: Tensor) -> Tensor:
            maps = self.norm(self.first(images)).flip(1)
            return self.last(self.second(maps).mean(dim=(2, 3)))

    model = Backbone(Turned(), 2, torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="not removing"):
        ChannelComponents(model, torch.randn(1, 3, 8, 8))


def test_fresh_weights_are_the_generators_alone() -> None:
    first, second = tiny(), tiny()
    second(torch.ones(4, 3, 8, 8))  # moves running statistics
    redraw(second, torch.Generator().manual_seed(1))
    state = first.state_dict()
    assert not all(torch.equal(v, state[name]) for name, v in second.state_dict().items())
    for each in (first, second):
        redraw(each, torch.Generator().manual_seed(7))
    assert all(torch.equal(v, state[name]) for name, v in second.state_dict().items())


def test_a_backbone_is_a_classifier_that_draws_nothing() -> None:
    model = backbone("mobilenet_v2").train()
    assert isinstance(model, ImageClassifier)
    assert model.classes == 5
    dropped = [m for m in model.modules() if isinstance(m, nn.Dropout)]
    assert dropped
    assert all(m.p == 0 for m in dropped)
    features = model.features(torch.zeros(2, 3, SIDE, SIDE))
    assert features.shape == (2, model.classifier.in_features)
    with pytest.raises(ValueError, match="not linear"):
        Backbone(nn.Sequential(nn.Conv2d(3, 2, 1)), 2, torch.Generator())
