"""Sources ordered by their distance from a target."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from core.ot import intervals
from core.ot.dataset_distance import DatasetDistance, OTDDConfig, draw, otdd
from core.ot.embedded_dataset import EmbeddedDataset

# Below this many samples a source is compared at its own size: it must not coarsen the others.
_FEWEST_COMMON_SAMPLES = 128


@dataclass(frozen=True, slots=True)
class ClassMatch:
    """Mass that the optimal plan moves between one class of the target and one of the source."""

    target_class: str
    source_class: str
    mass: float


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One source as seen from the target.

    Attributes:
        source: Key of the source.
        distance: OTDD in feature units.
        interval: Its confidence interval; contains ``distance``.
        tied_with_nearest: The data do not tell this source from the nearest one: the difference
            of the two squared distances, over the same target samples, is within its own
            confidence interval of zero. True for the nearest itself.
        features_part: Share of the squared distance paid for features.
        labels_part: Share paid for labels.
        samples: Samples compared, target and source.
        matches: The heaviest class-to-class couplings, heaviest first.
        converged: Whether the plan is proved optimal.
    """

    source: str
    distance: float
    interval: tuple[float, float]
    tied_with_nearest: bool
    features_part: float
    labels_part: float
    samples: tuple[int, int]
    matches: tuple[ClassMatch, ...]
    converged: bool


def rank(
    target: EmbeddedDataset,
    sources: Mapping[str, EmbeddedDataset],
    config: OTDDConfig | None = None,
    *,
    matches: int = 10,
) -> tuple[Neighbour, ...]:
    """Every source with its distance from the target, nearest first.

    All sources are compared at one sample size, as many as the smallest of them offers (but no
    fewer than 128 for its sake): sampled transport is biased upward, the more the fewer samples.

    Args:
        target: Embedded dataset to be placed.
        sources: Embedded datasets by key, same embedder as the target.
        config: Sizes and weights.
        matches: Class pairs to report for each source.

    Returns:
        Neighbours by rising distance; equal distances by key. Empty without sources.

    Raises:
        ValueError: If a source was embedded differently.
    """
    config = config or OTDDConfig()
    config = replace(config, samples=_common_samples(sources, config.samples))
    distances = {key: otdd(target, source, config) for key, source in sources.items()}
    order = sorted(distances, key=lambda key: (distances[key].squared, key))
    weights = {key: draw(sources[key], config.samples).weights for key in order}
    target_weights = draw(target, config.samples).weights
    return tuple(
        Neighbour(
            source=key,
            distance=distances[key].distance,
            interval=distances[key].interval,
            tied_with_nearest=key == order[0]
            or _tied(
                distances[order[0]],
                distances[key],
                (target_weights, weights[order[0]], weights[key]),
                config.confidence,
            ),
            features_part=distances[key].features_part,
            labels_part=distances[key].labels_part,
            samples=distances[key].samples,
            matches=_heaviest(distances[key].coupling, target, sources[key], matches),
            converged=distances[key].converged,
        )
        for key in order
    )


def _common_samples(sources: Mapping[str, EmbeddedDataset], samples: int) -> int:
    smallest = min((len(source.labels) for source in sources.values()), default=samples)
    return min(samples, max(smallest, _FEWEST_COMMON_SAMPLES))


def _tied(
    nearest: DatasetDistance,
    other: DatasetDistance,
    weights: tuple[Tensor, Tensor, Tensor],
    confidence: float,
) -> bool:
    """Paired test: both distances share the target samples, whose common part cancels."""
    target, nearest_source, other_source = weights
    variance = (
        intervals.sampling_variance(other.influence[0] - nearest.influence[0], target)
        + intervals.sampling_variance(nearest.influence[1], nearest_source)
        + intervals.sampling_variance(other.influence[1], other_source)
    )
    reach = intervals.critical_value(confidence) * math.sqrt(variance)
    return other.squared - nearest.squared <= reach


def _heaviest(
    coupling_mn: Tensor, target: EmbeddedDataset, source: EmbeddedDataset, count: int
) -> tuple[ClassMatch, ...]:
    masses, positions = torch.topk(coupling_mn.flatten(), min(count, coupling_mn.numel()))
    pairs = zip(masses.tolist(), positions.tolist(), strict=True)
    columns = coupling_mn.shape[1]
    return tuple(
        ClassMatch(target.classes[at // columns], source.classes[at % columns], mass)
        for mass, at in pairs
        if mass > 0
    )
