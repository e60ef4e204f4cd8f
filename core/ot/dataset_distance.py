"""Optimal transport dataset distance between two embedded datasets."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from core.ot import costs, intervals, solvers
from core.ot.embedded_dataset import EmbeddedDataset, stratified_rows
from core.ot.label_distances import squared_gaussian_distances

# N, M = samples compared on either side; m, n = classes on either side.


@dataclass(frozen=True, slots=True)
class OTDDConfig:
    """What is measured. Two distances compare only under equal settings.

    Attributes:
        samples: Samples taken of each side, at least one per class and at most what the embedded
            datasets keep.
        lambda_x: Weight of squared feature distances.
        lambda_y: Weight of squared label distances.
        confidence: Coverage of the intervals.
    """

    samples: int = 500
    lambda_x: float = 1.0
    lambda_y: float = 1.0
    confidence: float = 0.95

    def __post_init__(self) -> None:
        weights = (self.lambda_x, self.lambda_y)
        if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or not any(
            weights
        ):
            raise ValueError("lambda_x and lambda_y must be finite, non-negative and not both 0")
        if self.samples < 1:
            raise ValueError(f"samples must be at least 1, not {self.samples}")
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence must lie between 0 and 1, not {self.confidence}")


@dataclass(frozen=True, slots=True, eq=False)
class DatasetDistance:
    """The distance of two datasets and what it is made of.

    Attributes:
        distance: OTDD itself, in feature units: the root of ``squared``.
        squared: Optimal joint cost; twice what microsoft/otdd reports (it returns half of it).
        features_part: Share of ``squared`` paid for moving features, ``lambda_x`` included.
        labels_part: Share paid for changing labels; the two parts add up to ``squared``.
        interval: Confidence interval of ``distance`` (see :mod:`core.ot.intervals`).
        coupling: ``[m, n]`` mass moved from each class to each class; sums to one.
        samples: Samples compared on either side.
        converged: Whether the plan is proved optimal.
        influence: ``[N]`` and ``[M]``, first-order effect of each sample on ``squared``; its
            spread is what the interval is made of.
    """

    distance: float
    squared: float
    features_part: float
    labels_part: float
    interval: tuple[float, float]
    coupling: Tensor
    samples: tuple[int, int]
    converged: bool
    influence: tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Rows of an embedded dataset with the weights that restore its class shares.

    Attributes:
        features: ``[N, D]``.
        labels: ``[N]``.
        weights: ``[N]`` float64, summing to one.
        means: ``[m, D]`` class means over all samples of the dataset.
        fraction: Share of the dataset's samples that are in this one.
    """

    features: Tensor
    labels: Tensor
    weights: Tensor
    means: Tensor
    fraction: float


def draw(dataset: EmbeddedDataset, samples: int) -> Sample:
    """Fixed stratified sample of a dataset, weighted so that classes keep their exact shares.

    Args:
        dataset: Where to take it from.
        samples: Rows wanted; at least one per class is taken.

    Returns:
        The sample; weights ``[N]`` float64 sum to one.
    """
    rows = stratified_rows(dataset.moments, dataset.labels, samples)
    labels = dataset.labels[rows]
    per_class = torch.bincount(labels, minlength=len(dataset.classes))
    weights = dataset.class_weights[labels] / per_class[labels]
    fraction = len(rows) / float(dataset.moments.counts.sum())
    return Sample(dataset.features[rows], labels, weights, dataset.moments.means, fraction)


def otdd(
    first: EmbeddedDataset, second: EmbeddedDataset, config: OTDDConfig | None = None
) -> DatasetDistance:
    """Optimal transport dataset distance (Alvarez-Melis & Fusi 2020, eq. 5, p = 2).

    The root of the least total cost ``lambda_x |x - x'|^2 + lambda_y W2^2(y, y')`` of moving one
    labelled sample onto the other, solved exactly in float64. Label distances use the moments of
    all samples, the transport a fixed stratified sample of each side.

    Args:
        first: Embedded dataset with m classes.
        second: Embedded dataset with n classes, same embedder.
        config: Sizes and weights; the defaults of :class:`OTDDConfig` when omitted.

    Returns:
        The distance with its parts, interval and class coupling.

    Raises:
        ValueError: If the two were embedded differently.
    """
    config = config or OTDDConfig()
    require_same_embedder(first, second)
    labels_mn = squared_gaussian_distances(first.moments, second.moments)
    return _transport(draw(first, config.samples), draw(second, config.samples), labels_mn, config)


def class_distance(first: EmbeddedDataset, second: EmbeddedDataset) -> float:
    """Optimal transport between the class Gaussians alone, weighted by class share.

    A metric on datasets seen as mixtures of class Gaussians, from moments only: no sample enters.

    Args:
        first: Embedded dataset.
        second: Embedded dataset, same embedder.

    Returns:
        The distance in feature units.

    Raises:
        ValueError: If the two were embedded differently.
    """
    require_same_embedder(first, second)
    labels_mn = squared_gaussian_distances(first.moments, second.moments)
    result = solvers.solve_exactly(first.class_weights, second.class_weights, labels_mn)
    return math.sqrt(result.cost)


def require_same_embedder(first: EmbeddedDataset, second: EmbeddedDataset) -> None:
    """Refuse features that do not compare.

    Raises:
        ValueError: If embedder or dimension differ.
    """
    if first.embedder != second.embedder or first.dimension != second.dimension:
        raise ValueError(
            "datasets were embedded differently: "
            f"{first.embedder or 'unnamed'} with {first.dimension} dimensions, "
            f"{second.embedder or 'unnamed'} with {second.dimension}"
        )


def _transport(
    first: Sample, second: Sample, labels_mn: Tensor, config: OTDDConfig
) -> DatasetDistance:
    features_NM = costs.squared_feature_distances(first.features, second.features)
    joint_NM = costs.joint_costs(
        features_NM,
        labels_mn,
        first.labels,
        second.labels,
        lambda_x=config.lambda_x,
        lambda_y=config.lambda_y,
    )
    result = solvers.solve_exactly(first.weights, second.weights, joint_NM)
    coupling_mn = _class_coupling(result.plan, first.labels, second.labels, labels_mn)
    squared = result.cost
    features_part = min(config.lambda_x * float((result.plan * features_NM).sum()), squared)
    influence = (
        result.first_potential + config.lambda_y * _label_influence(first, second, coupling_mn),
        result.second_potential + config.lambda_y * _label_influence(second, first, coupling_mn.T),
    )
    variance = intervals.sampling_variance(
        influence[0], first.weights
    ) + intervals.sampling_variance(influence[1], second.weights)
    return DatasetDistance(
        distance=math.sqrt(squared),
        squared=squared,
        features_part=features_part,
        labels_part=squared - features_part,
        interval=intervals.root_interval(squared, variance, confidence=config.confidence),
        coupling=coupling_mn,
        samples=(len(first.labels), len(second.labels)),
        converged=result.converged,
        influence=influence,
    )


def _class_coupling(
    plan_NM: Tensor, first_labels_N: Tensor, second_labels_M: Tensor, labels_mn: Tensor
) -> Tensor:
    rows_mM = plan_NM.new_zeros(labels_mn.shape[0], plan_NM.shape[1])
    rows_mM.index_add_(0, first_labels_N, plan_NM)
    coupling_nm = plan_NM.new_zeros(labels_mn.shape[1], labels_mn.shape[0])
    return coupling_nm.index_add_(0, second_labels_M, rows_mM.T).T.contiguous()


def _label_influence(own: Sample, other: Sample, coupling_mn: Tensor) -> Tensor:
    """Effect of each sample on the label distances, through its class mean.

    The means rest on all samples, of which this one is a fraction r: its share of their variance
    is r, and weighting by the root of r counts that in full and the covariance generously.
    """
    influence_N: Tensor = intervals.label_influence(
        own.features,
        own.labels,
        means_mD=own.means,
        other_means_nD=other.means,
        coupling_mn=coupling_mn,
    )
    return influence_N * math.sqrt(own.fraction)
