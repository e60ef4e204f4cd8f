"""OTDD estimated from small samples that have the class means and the spread of all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from core.ot import cores, solvers
from core.ot.class_plans import ClassPlan, Integers, Pairs, evaluate
from core.ot.source_block import RANK, SourceBlock
from core.ot.targets import Floats, Target

_MASS_WORTH_KNOWING = 1e-3


def transport_samples(
    target: Target,
    block: SourceBlock,
    plans: Sequence[ClassPlan],
    *,
    samples: int,
    lambda_x: float,
    lambda_y: float,
) -> Floats:
    """OTDD squared of some sources, estimated from small samples of either side.

    One exact transport each, with label distances where the plan between classes used them and
    typical ones elsewhere; what the sampled plans use beyond is evaluated afterwards. Before, the
    samples of every class are moved to the mean of all, and spread as widely (moment matching):
    to replace moments in the cost afterwards would leave their products across the plan, which
    are most of what near sources differ by.

    Args:
        target: The target, with samples.
        block: The sources.
        plans: Transport between classes of the target and those of the sources to estimate, all
            of them with samples.
        samples: How many of those kept to take of either side, at least one of each class.
        lambda_x: Weight of the features.
        lambda_y: Weight of the labels.

    Returns:
        One estimate for each plan, in squared feature units, non-negative.
    """
    rows = _some(target.labels.numpy(), samples)
    ours, own = target.labels.numpy()[rows], target.features[torch.from_numpy(rows)]
    weights = _sample_weights(target.weights, ours)
    features = _matched(own, ours, target.weights, target.signatures.cpu().numpy())

    def moved(plan: ClassPlan) -> tuple[float, Floats]:
        theirs, labels = _sample(block, plan, samples)
        squared = _squared_distances(features, theirs.to(features.device))
        joint = lambda_x * squared + lambda_y * plan.costs[ours][:, labels]
        scale = max(float(joint.max()), np.finfo(np.float64).tiny)
        other_weights = _sample_weights(plan.weights, labels)
        coupling = solvers.exact_plan(weights, other_weights, joint / scale)
        between = _between_classes(coupling, ours, labels, plan.costs.shape)
        return float((coupling * squared).sum()), between

    found = list(cores.spread(moved, plans))
    wanted = [(plan, _worth_knowing(plan, between))
              for plan, (_, between) in zip(plans, found, strict=True)]  # fmt: skip
    evaluate(target, block, wanted, RANK)
    return np.array([
        lambda_x * feature_cost + lambda_y * float((between * plan.costs).sum())
        for plan, (feature_cost, between) in zip(plans, found, strict=True)
    ])  # fmt: skip


def _worth_knowing(plan: ClassPlan, between: Floats) -> Pairs:
    rows, columns = np.nonzero((between > _MASS_WORTH_KNOWING) & ~plan.known)
    return rows, columns


def _some(labels: Integers, samples: int) -> Integers:
    """The first rows of every class, the same share of each."""
    places = np.arange(len(labels)) - np.searchsorted(labels, labels)
    counts = np.bincount(labels)[labels]
    rows: Integers = np.flatnonzero(places * len(labels) < counts * samples)
    return rows


def _sample(block: SourceBlock, plan: ClassPlan, samples: int) -> tuple[Tensor, Integers]:
    features, classes = block.samples(plan.row)
    rows = _some(classes.numpy(), samples)
    features = features[torch.from_numpy(rows)]
    signatures = block.class_signatures[plan.classes].astype(np.float64)
    labels = classes.numpy()[rows]
    return _matched(features, labels, plan.weights, signatures), labels


def _matched(features: Tensor, labels: Integers, weights: Floats, signatures: Floats) -> Tensor:
    """``[n, D]`` a sample with the class means of all and, over its classes, their mean variance.

    One factor for all classes: of a few samples each, theirs would be mostly noise. A class of one
    sample stays where it is: it says nothing of its mean.
    """
    found, dimension = features.cpu().numpy(), features.shape[1]
    counts = np.bincount(labels, minlength=len(weights))
    sums = np.zeros((len(weights), dimension))
    np.add.at(sums, labels, found)
    several = counts > 1
    means, variances = signatures[:, :dimension], np.square(signatures[:, dimension:]).sum(1)
    own = np.where(several[:, None], sums / np.maximum(counts, 1)[:, None], means)
    centred = found - own[labels]
    squares = np.bincount(labels, np.square(centred).sum(1), minlength=len(weights))
    sampled = float(weights[several] @ (squares[several] / (counts[several] - 1)))
    wanted = float(weights[several] @ variances[several])
    scale = np.sqrt(wanted / sampled) if sampled > 0 else 1.0
    return torch.from_numpy(means[labels] + scale * centred).to(features.device)


def _squared_distances(first_ND: Tensor, second_MD: Tensor) -> Floats:
    lengths_NM = first_ND.square().sum(1)[:, None] + second_MD.square().sum(1)[None]
    products_NM = torch.addmm(lengths_NM, first_ND, second_MD.T, alpha=-2)
    squared: Floats = products_NM.clamp_min_(0).cpu().numpy()
    return squared


def _sample_weights(class_weights: Floats, labels: Integers) -> Floats:
    counts = np.bincount(labels, minlength=len(class_weights))
    weights = class_weights[labels] / counts[labels]
    shares: Floats = weights / weights.sum()
    return shares


def _between_classes(
    coupling: Floats, ours: Integers, theirs: Integers, shape: tuple[int, ...]
) -> Floats:
    rows, columns = np.nonzero(coupling)
    between = np.zeros(shape)
    np.add.at(between, (ours[rows], theirs[columns]), coupling[rows, columns])
    return between
