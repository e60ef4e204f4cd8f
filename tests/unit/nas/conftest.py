"""Small real images and a genotype with every operation."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from sklearn.datasets import load_digits

from core.nas.genotype import Edge, Genotype
from core.nas.images import LabelledImages
from core.nas.space import Space


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    # Bitwise comparisons hold for a fixed number of threads; one is fastest for tiny tensors.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def digits() -> LabelledImages:
    """Scikit-learn's 1797 digits of 8x8 pixels."""
    raw = load_digits()
    images = torch.tensor(raw.images / 16 * 255).round().to(torch.uint8).unsqueeze(1)
    return LabelledImages.measured(images, torch.tensor(raw.target).long(), 10)


@pytest.fixture(scope="session")
def halves(digits: LabelledImages) -> tuple[LabelledImages, LabelledImages]:
    few = digits.sample(240, torch.Generator().manual_seed(0))
    return few.halves(0)


@pytest.fixture(scope="session")
def space() -> Space:
    return Space(channels=2, layers=3, nodes=4, input_channels=1)


@pytest.fixture(scope="session")
def genotype() -> Genotype:
    """Every operation, in both cells, from inputs and from nodes."""
    return Genotype(
        normal=(
            (Edge("sep_conv_5x5", 0), Edge("dil_conv_5x5", 1)),
            (Edge("skip_connect", 0), Edge("dil_conv_3x3", 2)),
            (Edge("max_pool_3x3", 1), Edge("sep_conv_3x3", 3)),
            (Edge("avg_pool_3x3", 2), Edge("skip_connect", 4)),
        ),
        reduction=(
            (Edge("skip_connect", 0), Edge("sep_conv_3x3", 1)),
            (Edge("max_pool_3x3", 1), Edge("avg_pool_3x3", 2)),
            (Edge("sep_conv_5x5", 0), Edge("dil_conv_3x3", 1)),
            (Edge("dil_conv_5x5", 0), Edge("skip_connect", 1)),
        ),
    )
