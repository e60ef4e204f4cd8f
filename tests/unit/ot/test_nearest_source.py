"""The shipped embedder puts each of the demo's targets nearest to the source of its own kind."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch

from api.demo import images
from core.ot import embedders
from core.ot.dataset_distance import OTDDConfig
from core.ot.embedded_dataset import EmbeddedDataset, build
from tests.unit.ot.registries import rank_named

SOURCES = ("mnist", "latin", "textures")


def embedded(name: str) -> EmbeddedDataset:
    """The train split of one of the demo's datasets, every third image of each class."""
    examples = [
        (label, pixels) for split, label, pixels in images.ARCHIVES[name]() if split == "train"
    ]
    examples = sorted(examples, key=lambda example: example[0])[::3]
    classes = sorted({label for label, _ in examples})
    pixels = torch.from_numpy(np.stack([pixels for _, pixels in examples]))[:, None]
    labels = torch.tensor([classes.index(label) for label, _ in examples])
    model = embedders.create()
    return build(model.embed(pixels), labels, classes, embedder=model.identifier)


@pytest.fixture(scope="module")
def sources() -> Mapping[str, EmbeddedDataset]:
    return {name: embedded(name) for name in SOURCES}


@pytest.mark.parametrize(("target", "nearest"), [("digits", "mnist"), ("greek", "latin")])
def test_targets_find_their_kin(
    sources: Mapping[str, EmbeddedDataset], target: str, nearest: str
) -> None:
    order, (first, *_) = rank_named(embedded(target), sources, OTDDConfig(samples=240))
    assert first == nearest
    assert order.proven == len(sources)
    assert not any(other.tied_with_nearest for other in order.neighbours[1:])
