"""Optimal transport dataset distance between two embedded datasets."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from core.ot import class_transport, costs, intervals, label_distances, solvers
from core.ot.class_transport import Evaluate, LazyCosts
from core.ot.embedded_dataset import EmbeddedDataset
from core.ot.sampling import Sample, draw
from core.ot.solvers import TransportResult

# N, M = samples compared on either side; m, n = classes on either side.

# With no more pairs of classes than this, all are evaluated: cheaper than to transport twice.
_ALL_PAIRS = 400
_PAIRS_SHOWN = 12


@dataclass(frozen=True, slots=True)
class OTDDConfig:
    """What is measured. Two distances compare only under equal settings.

    The cost of moving a sample is ``lambda_x |x - x'|^p + lambda_y W(y, y')^p``, the distance the
    p-th root of the least total cost. With the defaults that is the OTDD of Alvarez-Melis & Fusi
    2020; microsoft/otdd halves the cost and takes no root, so it reports ``OTDD^2 / 2``.

    Attributes:
        samples: Samples taken of each side, at least one per class and at most what the embedded
            datasets keep.
        lambda_x: Weight of the features.
        lambda_y: Weight of the labels.
        p: Exponent, from 1 to 2.
        labels: Distance W between classes: 2-Wasserstein of their Gaussians, from the moments of
            all samples; or exactly between the samples compared (``samples``).
        solver: Exact by the network simplex, or ``entropic`` (an upper bound; runs on GPU).
        epsilon: Entropy as a share of the mean cost, for the entropic solver.
        confidence: Coverage of the intervals.
    """

    samples: int = 500
    lambda_x: float = 1.0
    lambda_y: float = 1.0
    p: float = 2.0
    labels: Literal["gaussian", "samples"] = "gaussian"
    solver: Literal["exact", "entropic"] = "exact"
    epsilon: float = 0.01
    confidence: float = 0.95

    def __post_init__(self) -> None:
        weights = (self.lambda_x, self.lambda_y)
        if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or not any(
            weights
        ):
            raise ValueError("lambda_x and lambda_y must be finite, non-negative and not both 0")
        if self.samples < 1:
            raise ValueError(f"samples must be at least 1, not {self.samples}")
        if not 1 <= self.p <= 2:
            raise ValueError(f"p must lie from 1 to 2, not {self.p}")
        if not self.epsilon > 0:
            raise ValueError(f"epsilon must be positive, not {self.epsilon}")
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence must lie between 0 and 1, not {self.confidence}")


@dataclass(frozen=True, slots=True)
class SamplePair:
    """Two samples that the plan matches, by their places in the datasets embedded."""

    first_row: int
    second_row: int
    first_class: int
    second_class: int
    mass: float


@dataclass(frozen=True, slots=True, eq=False)
class DatasetDistance:
    """The distance of two datasets and what it is made of.

    Attributes:
        distance: OTDD itself, in feature units: the p-th root of ``cost``.
        cost: Optimal joint cost.
        features_part: Share of ``cost`` paid for moving features, ``lambda_x`` included.
        labels_part: Share paid for changing labels; the two parts add up to ``cost``.
        interval: Confidence interval of ``distance`` (see :mod:`core.ot.intervals`).
        coupling: ``[m, n]`` mass moved from each class to each class; sums to one.
        pairs: Examples from the heaviest entries of the coupling, heaviest first.
        samples: Samples compared on either side; zeros where class statistics were.
        converged: Whether the plan is proved optimal.
        influence: ``[N]`` and ``[M]``, first-order effect of each sample on ``cost``; its
            spread is what the interval is made of.
    """

    distance: float
    cost: float
    features_part: float
    labels_part: float
    interval: tuple[float, float]
    coupling: Tensor
    pairs: tuple[SamplePair, ...]
    samples: tuple[int, int]
    converged: bool
    influence: tuple[Tensor, Tensor]


def otdd(
    first: EmbeddedDataset, second: EmbeddedDataset, config: OTDDConfig | None = None
) -> DatasetDistance:
    """Optimal transport dataset distance (Alvarez-Melis & Fusi 2020, eq. 5).

    Label distances use the moments of all samples, the transport a fixed stratified sample of
    each side, in float64.

    Args:
        first: Embedded dataset with m classes.
        second: Embedded dataset with n classes, same embedder.
        config: Sizes, weights and method; the defaults of :class:`OTDDConfig` when omitted.

    Returns:
        The distance with its parts, interval, class coupling and example pairs.

    Raises:
        ValueError: If the two were embedded differently, or one holds statistics alone.
    """
    config = config or OTDDConfig()
    require_same_embedder(first, second)
    if not (first.has_samples and second.has_samples):
        raise ValueError("a dataset of statistics alone has no samples to transport")
    sides = draw(first, config.samples), draw(second, config.samples)
    if config.labels == "samples":
        squared = label_distances.squared_sample_distances(
            (sides[0].features, sides[0].labels),
            (sides[1].features, sides[1].labels),
            classes=(len(first.classes), len(second.classes)),
        )
        lazy, evaluate = LazyCosts(squared, torch.ones_like(squared, dtype=torch.bool)), None
    else:
        lazy, evaluate = class_transport.gaussian_costs(first.moments, second.moments)
        if lazy.costs.numel() <= _ALL_PAIRS or config.solver == "entropic":
            lazy.learn(torch.ones_like(lazy.known), evaluate)
        else:
            class_transport.transport(
                first.moments.weights, second.moments.weights, lazy, evaluate
            )
    return _transport(*sides, lazy, evaluate, config)


def class_distance(
    first: EmbeddedDataset, second: EmbeddedDataset, config: OTDDConfig | None = None
) -> DatasetDistance:
    """The same distance between class Gaussians: from moments only, no sample enters.

    Between two classes features cost what labels do, the squared 2-Wasserstein distance of their
    Gaussians: ``(lambda_x + lambda_y) W2^2``, transported exactly by class share. With weights
    that add up to one it is a metric on datasets seen as mixtures of their class Gaussians (Delon
    & Desolneux 2020); it lies below :func:`otdd`, which sees what is not Gaussian and the scatter
    of finite samples as well.

    Args:
        first: Embedded dataset.
        second: Embedded dataset, same embedder.
        config: Weights and p; samples and solver are not used.

    Returns:
        The distance in feature units, its interval without width: nothing was sampled.

    Raises:
        ValueError: If the two were embedded differently.
    """
    config = config or OTDDConfig()
    require_same_embedder(first, second)
    lazy, evaluate = class_transport.gaussian_costs(first.moments, second.moments)
    result = class_transport.transport(
        first.moments.weights, second.moments.weights, lazy, evaluate, power=config.p / 2
    )
    distance = _root((config.lambda_x + config.lambda_y) * result.cost, config.p)
    nothing = result.plan.new_zeros(0)
    return DatasetDistance(
        distance=distance,
        cost=(config.lambda_x + config.lambda_y) * result.cost,
        features_part=config.lambda_x * result.cost,
        labels_part=config.lambda_y * result.cost,
        interval=(distance, distance),
        coupling=result.plan,
        pairs=(),
        samples=(0, 0),
        converged=result.converged,
        influence=(nothing, nothing),
    )


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
    first: Sample,
    second: Sample,
    lazy: LazyCosts,
    evaluate: Evaluate | None,
    config: OTDDConfig,
) -> DatasetDistance:
    features_NM = costs.feature_costs(first.features, second.features, p=config.p)
    while True:
        labels_mn = lazy.costs ** (config.p / 2)
        joint_NM = costs.joint_costs(
            features_NM,
            labels_mn,
            first.labels,
            second.labels,
            lambda_x=config.lambda_x,
            lambda_y=config.lambda_y,
        )
        result = _solve(first.weights, second.weights, joint_NM, config)
        coupling_mn = _class_coupling(result.plan, first.labels, second.labels, labels_mn)
        # No label distance was overstated, so a plan that uses only true ones is optimal.
        if evaluate is None or not config.lambda_y or not lazy.learn(coupling_mn > 0, evaluate):
            break
    return _described(first, second, features_NM, lazy.costs, result, coupling_mn, config)


def _solve(first: Tensor, second: Tensor, joint_NM: Tensor, config: OTDDConfig) -> TransportResult:
    if config.solver == "exact":
        return solvers.solve_exactly(first, second, joint_NM)
    (result,) = solvers.solve_entropic(
        first[None], second[None], joint_NM[None], epsilon=config.epsilon
    )
    return result


def _described(
    first: Sample,
    second: Sample,
    features_NM: Tensor,
    squared_mn: Tensor,
    result: TransportResult,
    coupling_mn: Tensor,
    config: OTDDConfig,
) -> DatasetDistance:
    features_part = min(config.lambda_x * float((result.plan * features_NM).sum()), result.cost)
    # The chain rule: labels cost W^p, their means move W^2.
    moved_mn = coupling_mn
    if config.p != 2:
        moved_mn = moved_mn * config.p / 2 * squared_mn.clamp_min(1e-300) ** (config.p / 2 - 1)
        moved_mn = torch.where(squared_mn > 0, moved_mn, 0.0)
    shares = coupling_mn.sum(1), coupling_mn.sum(0)
    labels = (
        _label_influence(first, second, moved_mn, shares[0]),
        _label_influence(second, first, moved_mn.T, shares[1]),
    )
    influence = (
        result.first_potential + config.lambda_y * labels[0],
        result.second_potential + config.lambda_y * labels[1],
    )
    variance = intervals.sampling_variance(
        influence[0], first.weights
    ) + intervals.sampling_variance(influence[1], second.weights)
    return DatasetDistance(
        distance=_root(result.cost, config.p),
        cost=result.cost,
        features_part=features_part,
        labels_part=result.cost - features_part,
        interval=intervals.root_interval(
            result.cost, variance, p=config.p, confidence=config.confidence
        ),
        coupling=coupling_mn,
        pairs=_examples(result.plan, features_NM, coupling_mn, first, second),
        samples=(len(first.labels), len(second.labels)),
        converged=result.converged,
        influence=influence,
    )


def _root(cost: float, p: float) -> float:
    return math.sqrt(cost) if p == 2 else cost ** (1 / p)


def _class_coupling(
    plan_NM: Tensor, first_labels_N: Tensor, second_labels_M: Tensor, labels_mn: Tensor
) -> Tensor:
    rows_mM = plan_NM.new_zeros(labels_mn.shape[0], plan_NM.shape[1])
    rows_mM.index_add_(0, first_labels_N, plan_NM)
    coupling_nm = plan_NM.new_zeros(labels_mn.shape[1], labels_mn.shape[0])
    return coupling_nm.index_add_(0, second_labels_M, rows_mM.T).T.contiguous()


def _examples(
    plan_NM: Tensor, features_NM: Tensor, coupling_mn: Tensor, first: Sample, second: Sample
) -> tuple[SamplePair, ...]:
    """For each of the heaviest pairs of classes, the two most alike samples that are matched."""
    masses, places = torch.topk(coupling_mn.flatten(), min(_PAIRS_SHOWN, coupling_mn.numel()))
    found = []
    for mass, place in zip(masses.tolist(), places.tolist(), strict=True):
        one, other = divmod(place, coupling_mn.shape[1])
        rows = torch.nonzero(first.labels == one).flatten()
        columns = torch.nonzero(second.labels == other).flatten()
        apart = features_NM[rows][:, columns]
        apart = torch.where(plan_NM[rows][:, columns] > 0, apart, torch.inf)
        if mass > 0 and bool(torch.isfinite(apart).any()):
            row, column = divmod(int(apart.argmin()), len(columns))
            pair = int(first.rows[rows[row]]), int(second.rows[columns[column]])
            found.append(SamplePair(*pair, one, other, mass))
    return tuple(found)


def _label_influence(own: Sample, other: Sample, coupling_mn: Tensor, shares_m: Tensor) -> Tensor:
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
        shares_m=shares_m,
    )
    return influence_N * math.sqrt(own.fraction)
