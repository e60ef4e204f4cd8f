"""Everything a ranking reads of its sources, as a few large arrays that may be mapped from files.

What is kept of a source with m classes in D dimensions, in bytes: ``12 D + 28`` for the whole,
``m (8 D + 2 D R + 12)`` for its classes with R = 32 columns of each covariance factor, and
``n (2 D + 4)`` for a sample of n = 256. With ten classes that is 140 KB in 115 dimensions and
0.64 MB in 512; it grows with the number of sources and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.ot.embedded_dataset import EmbeddedDataset, stratified_rows
from core.ot.label_distances import signatures
from core.ot.sampling import draw

# N = sources, K = classes of all sources, S = samples of all sources, D = feature dimension.
RANK = 32  # below it, truncation would distort label distances by a tenth
SAMPLES = 256

Array = NDArray[np.generic]


@dataclass(frozen=True, slots=True, eq=False)
class SourceBlock:
    """Sources side by side. Half precision is relative to each source's own spread.

    Attributes:
        class_starts: ``[N + 1]`` int64; the classes of source i are ``starts[i]:starts[i + 1]``.
        class_weights: ``[K]`` float64, shares of the classes in their source.
        class_signatures: ``[K, 2 D]`` float32, class means and square roots of the eigenvalues of
            class covariances, falling.
        class_factors: ``[K, D, R]`` float16, covariance factors over ``class_scales``.
        class_scales: ``[K]`` float32.
        source_signatures: ``[N, 2 D]`` float32, the same of the sample of a source that distances
            are measured on (:attr:`OTDDConfig.samples`), all classes together.
        second_moments: ``[N]`` float64, mean squared length of all features of a source.
        sample_starts: ``[N + 1]`` int64; a source of statistics alone has no samples.
        sample_features: ``[S, D]`` float16, less ``sample_centres``, over ``sample_scales``.
        sample_labels: ``[S]`` int32, class within the source.
        sample_centres: ``[N, D]`` float32.
        sample_scales: ``[N]`` float32.
    """

    class_starts: Array
    class_weights: Array
    class_signatures: Array
    class_factors: Array
    class_scales: Array
    source_signatures: Array
    second_moments: Array
    sample_starts: Array
    sample_features: Array
    sample_labels: Array
    sample_centres: Array
    sample_scales: Array

    def __len__(self) -> int:
        return len(self.second_moments)

    @property
    def dimension(self) -> int:
        """Number of feature dimensions D."""
        return int(self.sample_features.shape[1])

    @property
    def nbytes(self) -> int:
        """Size of all arrays."""
        return sum(getattr(self, field.name).nbytes for field in fields(self))

    def classes(self, row: int) -> slice:
        """Where the classes of one source are."""
        return slice(int(self.class_starts[row]), int(self.class_starts[row + 1]))

    def take(self, rows: Sequence[int]) -> SourceBlock:
        """A block of some of the sources, in the order given."""
        return concatenate([self._one(row) for row in rows])

    def _one(self, row: int) -> SourceBlock:
        spans = {
            "class": self.classes(row),
            "sample": slice(int(self.sample_starts[row]), int(self.sample_starts[row + 1])),
        }
        parts = {}
        for field in fields(self):
            array = getattr(self, field.name)
            if field.name.endswith("_starts"):
                span = spans[field.name.partition("_")[0]]
                parts[field.name] = np.array([0, span.stop - span.start])
            elif field.name in ("sample_centres", "sample_scales"):
                parts[field.name] = array[row : row + 1]
            else:
                span = spans.get(field.name.partition("_")[0], slice(row, row + 1))
                parts[field.name] = array[span]
        return SourceBlock(**parts)

    def samples(self, row: int) -> tuple[Tensor, Tensor]:
        """One source's sample: features ``[n, D]`` float64 and labels ``[n]`` int64."""
        part = slice(int(self.sample_starts[row]), int(self.sample_starts[row + 1]))
        features = torch.from_numpy(self.sample_features[part]).double()
        features = features * float(self.sample_scales[row])
        features = features + torch.from_numpy(self.sample_centres[row]).double()
        return features, torch.from_numpy(self.sample_labels[part]).long()


def summarise(dataset: EmbeddedDataset, *, samples: int) -> SourceBlock:
    """A block of one source.

    Args:
        dataset: The source.
        samples: Size of the sample that distances are measured on.

    Returns:
        Its statistics and sample.
    """
    moments = dataset.moments
    factors = moments.factors[..., :RANK]
    factors = torch.nn.functional.pad(factors, (0, RANK - factors.shape[-1]))
    scales = _scale(factors.flatten(1).abs().amax(1))
    kept = stratified_rows(moments, dataset.labels, SAMPLES)
    features, labels = dataset.features[kept].double(), dataset.labels[kept]
    centre = dataset.centre
    scale = _scale((features - centre).abs().amax() if len(kept) else torch.zeros(()))
    counts = moments.counts.double()
    lengths = moments.means.square().sum(1) + moments.traces * (counts - 1) / counts
    return SourceBlock(
        class_starts=np.array([0, len(dataset.classes)]),
        class_weights=moments.weights.numpy(),
        class_signatures=signatures(moments).float().numpy(),
        class_factors=(factors / scales[:, None, None]).half().numpy(),
        class_scales=scales.float().numpy(),
        source_signatures=pooled_signature(dataset, samples)[None].float().numpy(),
        second_moments=(moments.weights * lengths).sum()[None].numpy(),
        sample_starts=np.array([0, len(kept)]),
        sample_features=((features - centre) / scale).half().numpy(),
        sample_labels=labels.int().numpy(),
        sample_centres=centre[None].float().numpy(),
        sample_scales=scale[None].float().numpy(),
    )


def concatenate(blocks: Sequence[SourceBlock]) -> SourceBlock:
    """The sources of several blocks, in order.

    Raises:
        ValueError: If there is none, or their feature dimensions differ.
    """
    if len({block.dimension for block in blocks}) != 1:
        raise ValueError("a block holds sources of one feature dimension, and at least one")
    joined = {}
    for field in fields(SourceBlock):
        arrays = [getattr(block, field.name) for block in blocks]
        if field.name.endswith("_starts"):
            sizes = np.concatenate([np.diff(array) for array in arrays])
            joined[field.name] = np.concatenate([[0], np.cumsum(sizes)])
        else:
            joined[field.name] = np.concatenate(arrays)
    return SourceBlock(**joined)


def pooled_signature(dataset: EmbeddedDataset, samples: int) -> Tensor:
    """Mean and spectrum of a dataset without its labels, ``[2 D]`` float64.

    Of the weighted sample that :func:`core.ot.dataset_distance.draw` takes, with population
    covariance: the squared distance of two signatures bounds the cost of transporting one sample
    onto the other (Gelbrich 1990 and von Neumann, as for classes) exactly, not just on average.
    Of a dataset of statistics alone, the mean of all and no spectrum.
    """
    spectrum_D = dataset.moments.means.new_zeros(dataset.dimension)
    if not dataset.has_samples:
        return torch.cat([dataset.centre, spectrum_D])
    sample = draw(dataset, samples)
    features_ND = sample.features.double()
    centre_D = sample.weights @ features_ND
    centred_ND = (features_ND - centre_D) * sample.weights.sqrt()[:, None]
    values = torch.linalg.svdvals(centred_ND)
    spectrum_D[: len(values)] = values[: len(spectrum_D)]
    return torch.cat([centre_D, spectrum_D])


def _scale(largest: Tensor) -> Tensor:
    return torch.where(largest > 0, largest, 1.0).float()
