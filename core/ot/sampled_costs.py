"""OTDD estimated from small samples, corrected by the moments of all."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from core.ot import solvers
from core.ot.class_plans import ClassPlan, Integers, evaluate
from core.ot.source_block import RANK, SourceBlock
from core.ot.targets import Floats, Target

_MASS_WORTH_KNOWING = 1e-3


def sampled_cost(
    target: Target, block: SourceBlock, plan: ClassPlan, *, lambda_x: float, lambda_y: float
) -> float:
    """OTDD squared of one source, estimated from 256 samples of either side.

    One exact transport, with label distances where the plan between classes used them and
    typical ones elsewhere; what the sampled plan uses beyond is evaluated afterwards. The sample's
    second moments and class means are then exchanged for those of all samples (control variates
    whose coefficients are known: the cost is linear in them at a fixed plan).

    Args:
        target: The target, with samples.
        block: The sources.
        plan: Transport between classes of the target and the source.
        lambda_x: Weight of the features.
        lambda_y: Weight of the labels.

    Returns:
        The estimate, in squared feature units, non-negative.
    """
    features, labels = block.samples(plan.row)
    features = features.to(target.features.device)
    ours, theirs = target.labels.numpy(), labels.numpy()
    weights = _sample_weights(target.weights, ours)
    other_weights = _sample_weights(plan.weights, theirs)
    moved = _moved(target.features, features)
    joint = lambda_x * moved + lambda_y * plan.costs[ours][:, theirs]
    scale = max(float(joint.max()), np.finfo(np.float64).tiny)
    coupling = solvers.exact_plan(weights, other_weights, joint / scale)
    between = _between_classes(coupling, ours, theirs, plan.costs.shape)
    rows, columns = np.nonzero((between > _MASS_WORTH_KNOWING) & ~plan.known)
    evaluate(target, block, [(plan, (rows, columns))], RANK)
    label_cost = float((between * plan.costs).sum())
    feature_cost = float((coupling * moved).sum()) + _exchange(
        target, block, plan.row, between, (weights, other_weights), (features, labels)
    )
    return max(lambda_x * feature_cost + lambda_y * label_cost, 0.0)


def _moved(first_ND: Tensor, second_MD: Tensor) -> Floats:
    lengths_NM = first_ND.square().sum(1)[:, None] + second_MD.square().sum(1)[None]
    moved: Floats = (lengths_NM - 2 * first_ND @ second_MD.T).clamp_min(0).cpu().numpy()
    return moved


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


def _exchange(
    target: Target,
    block: SourceBlock,
    row: int,
    between: Floats,
    weights: tuple[Floats, Floats],
    sample: tuple[Tensor, Tensor],
) -> float:
    """What the feature cost changes by when sample moments are replaced by those of all."""
    dimension = target.factors.shape[1]
    part = block.classes(row)
    ours, theirs = target.features.cpu().numpy(), sample[0].cpu().numpy()
    own_means = target.signatures[:, :dimension].cpu().numpy()
    other_means = block.class_signatures[part, :dimension].astype(np.float64)
    lengths = (
        target.second_moment
        - float(weights[0] @ np.square(ours).sum(1))
        + float(block.second_moments[row])
        - float(weights[1] @ np.square(theirs).sum(1))
    )
    sampled = (
        _class_means(ours, target.labels.numpy(), own_means),
        _class_means(theirs, sample[1].numpy(), other_means),
    )
    cross = (between * (own_means @ other_means.T - sampled[0] @ sampled[1].T)).sum()
    return lengths - 2 * float(cross)


def _class_means(features: Floats, labels: Integers, fallback: Floats) -> Floats:
    counts = np.bincount(labels, minlength=len(fallback))
    sums = np.zeros_like(fallback)
    np.add.at(sums, labels, features)
    return np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], fallback)
