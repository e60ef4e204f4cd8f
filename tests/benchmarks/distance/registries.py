"""Registries of thousands of sources: a few dozen real ones, each changed in many ways.

Some dimensions change places, everything is scaled and moved. All of it follows exactly in the
statistics, so a source needs no embedding of its own, and every array has its true size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np
import torch
from numpy.typing import NDArray

from core.ot.embedded_dataset import EmbeddedDataset
from core.ot.source_block import SourceBlock, summarise

_FAMILY_SHIFT = 0.02, 2.0  # of a source's own spread, log-uniform
_PLACES_CHANGED = 0.3  # of all dimensions, at most


class Registry:
    """`count` sources and their block."""

    def __init__(self, bases: Sequence[EmbeddedDataset], count: int, *, samples: int) -> None:
        """Fill the block.

        Args:
            bases: What to change.
            count: Sources wanted.
            samples: That distances are measured on.
        """
        self._bases, self._dimension = bases, bases[0].dimension
        summaries = [summarise(base, samples=samples) for base in bases]
        kinds = [row % len(bases) for row in range(count)]
        arrays = {}
        for field in fields(SourceBlock):
            parts = [getattr(summary, field.name) for summary in summaries]
            if field.name.endswith("_starts"):
                sizes = [int(parts[kind][-1]) for kind in kinds]
                arrays[field.name] = np.concatenate([[0], np.cumsum(sizes)])
            else:
                length = sum(len(parts[kind]) for kind in kinds)
                arrays[field.name] = np.empty((length, *parts[0].shape[1:]), parts[0].dtype)
        self.block = SourceBlock(**arrays)
        for row, kind in enumerate(kinds):
            self._write(row, summaries[kind], bases[kind])

    def load(self, row: int) -> EmbeddedDataset:
        """What the registry would read from its store."""
        base = self._bases[row % len(self._bases)]
        places, scale, shift = self._change(row)
        order, moved = torch.from_numpy(places), torch.from_numpy(shift)
        moments = base.moments
        return replace(
            base,
            features=(base.features[:, order] * scale + moved).float(),
            moments=replace(
                moments,
                means=moments.means[:, order] * scale + moved,
                factors=moments.factors[:, order] * scale,
                traces=moments.traces * scale**2,
                spectra=moments.spectra * scale,
            ),
        )

    def _change(self, row: int) -> tuple[NDArray[np.int64], float, NDArray[np.float64]]:
        """Order of the dimensions, scale and shift; the same whenever asked."""
        random = np.random.default_rng(row)
        base = self._bases[row % len(self._bases)]
        places = np.arange(self._dimension)
        some = random.permutation(places)[: int(random.uniform(0, _PLACES_CHANGED) * len(places))]
        places[some] = random.permutation(some)
        spread = float((base.moments.weights * base.moments.traces).sum()) ** 0.5
        length = spread * np.exp(random.uniform(*np.log(_FAMILY_SHIFT)))
        direction = random.standard_normal(self._dimension)
        shift = length * direction / np.linalg.norm(direction)
        return places, float(random.uniform(0.8, 1.25)), shift

    def _write(self, row: int, own: SourceBlock, base: EmbeddedDataset) -> None:
        places, scale, shift = self._change(row)
        block, dimension = self.block, self._dimension
        classes = block.classes(row)
        samples = slice(int(block.sample_starts[row]), int(block.sample_starts[row + 1]))
        block.class_weights[classes] = own.class_weights
        block.class_signatures[classes, :dimension] = (
            own.class_signatures[:, :dimension][:, places] * scale + shift
        )
        block.class_signatures[classes, dimension:] = own.class_signatures[:, dimension:] * scale
        block.class_factors[classes] = own.class_factors[:, places]
        block.class_scales[classes] = own.class_scales * scale
        pooled = own.source_signatures[0]
        block.source_signatures[row, :dimension] = pooled[:dimension][places] * scale + shift
        block.source_signatures[row, dimension:] = pooled[dimension:] * scale
        centre = base.centre.numpy()[places] * scale
        lengths = own.second_moments[0] * scale**2 + shift @ (2 * centre + shift)
        block.second_moments[row] = lengths
        block.sample_features[samples] = own.sample_features[:, places]
        block.sample_labels[samples] = own.sample_labels
        block.sample_centres[row] = own.sample_centres[0][places] * scale + shift
        block.sample_scales[row] = own.sample_scales[0] * scale
