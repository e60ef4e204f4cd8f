"""The networks of torchvision that may be asked for, as they are."""

import pytest
import torch

from core.domain.prunings import Architecture
from core.nas.network import parameter_count
from core.nas.pruning.channels import ChannelComponents
from core.nas.pruning.controls import random_scores
from core.pipelines import known_network
from tests.unit.nas.pruning.networks import GIVEN

TRIED = {each for each in Architecture if each in GIVEN} - {Architecture.VGG11_BN}  # a small head


@pytest.mark.slow
@pytest.mark.parametrize("architecture", sorted(set(Architecture) - TRIED))
def test_it_can_be_pruned(architecture: Architecture) -> None:
    """Where the tests of `core/nas/pruning` do not do it. That masks are removals is looked at
    when the components are made."""
    generator = torch.Generator().manual_seed(0)
    whole = known_network.build(architecture, 3, generator, None)
    components = ChannelComponents(whole, torch.zeros(1, 3, 32, 32))
    mask = components.fit(random_scores(components, generator), 0.25)
    pruned = components.pruned(mask).eval()
    left = parameter_count(pruned) / parameter_count(whole)
    assert 0.24 < left <= 0.25
    assert left == pytest.approx(float(components.cost(mask)))
    assert pruned(torch.zeros(2, 3, 32, 32)).shape == (2, 3)
