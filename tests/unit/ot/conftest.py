"""Small embedded datasets with known structure."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from core.ot.embedded_dataset import EmbeddedDataset, build

Maker = Callable[..., EmbeddedDataset]


def gaussian_classes(
    *, seed: int, classes: int = 3, per_class: int = 20, dimension: int = 5, shift: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Features and labels of classes with their own means and anisotropic spread."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat_interleave(per_class)
    centres = 2 * torch.randn(classes, dimension, generator=generator)
    mixing = torch.randn(classes, dimension, dimension, generator=generator) / dimension**0.5
    noise = torch.randn(len(labels), 1, dimension, generator=generator)
    return centres[labels] + (noise @ mixing[labels])[:, 0] + shift, labels


@pytest.fixture
def make_dataset() -> Maker:
    """Builds an embedded dataset; keywords as ``gaussian_classes``, plus ``samples``."""

    def make(*, samples: int = 1000, **kwargs: float) -> EmbeddedDataset:
        features, labels = gaussian_classes(**kwargs)  # type: ignore[arg-type]
        names = [f"class {label}" for label in range(int(labels.max()) + 1)]
        return build(features, labels, names, samples=samples)

    return make
