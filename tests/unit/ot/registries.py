"""Small registries of embedded datasets, as rankings take them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from core.ot.dataset_distance import OTDDConfig
from core.ot.embedded_dataset import EmbeddedDataset, build
from core.ot.ranking import Order, rank
from core.ot.source_block import SourceBlock, concatenate, summarise


def shifted(
    shift: float, *, seed: int = 0, per_class: int = 60, dimension: int = 4, classes: int = 2
) -> EmbeddedDataset:
    """Fresh samples of fixed classes, moved along the diagonal."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat_interleave(per_class)
    noise = torch.randn(len(labels), dimension, generator=generator)
    names = [f"class {label}" for label in range(classes)]
    return build(noise + 4 * labels[:, None] + shift, labels, names)


def block_of(
    sources: Sequence[EmbeddedDataset], *, samples: int = OTDDConfig().samples
) -> SourceBlock:
    """Their summaries."""
    return concatenate([summarise(source, samples=samples) for source in sources])


def rank_named(
    target: EmbeddedDataset,
    sources: Mapping[str, EmbeddedDataset],
    config: OTDDConfig | None = None,
    **options: int | float | np.ndarray | Callable[[int, int], None],
) -> tuple[Order, list[str]]:
    """The order, and the names of the neighbours in it."""
    listed = list(sources.values())
    samples = (config or OTDDConfig()).samples
    block = block_of(listed, samples=samples)
    order = rank(target, block, lambda row: listed[row], config, **options)  # type: ignore[arg-type]
    return order, [list(sources)[each.row] for each in order.neighbours]
