"""Transport between the classes of one target and many sources: bounds, then estimates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.ot import cores, solvers
from core.ot.source_block import SourceBlock
from core.ot.targets import Floats, Target

_CLASSES_PER_BATCH = 8192
_PAIRS_PER_BATCH = 512
# Until a source's own pairs are known: what pairs of classes of real data mostly have.
_TYPICAL_SHARE = 0.25
_ROUNDS = 2

Integers = NDArray[np.int64]
Pairs = tuple[Integers, Integers]


@dataclass(frozen=True, slots=True, eq=False)
class Bounds:
    """What no source can lie below, and what label distances may be above their bounds.

    Attributes:
        classes: ``[m, K]`` lower bounds of squared label distances, reached where covariances
            share their eigenvectors.
        headroom: ``[m, K]`` how far above its bound a squared label distance can be: so far
            where the covariances have nothing in common.
        labels: ``[N]`` lower bounds of the transport between classes.
        features: ``[N]`` lower bounds of the transport between pooled samples.
    """

    classes: Floats
    headroom: Floats
    labels: Floats
    features: Floats


def bound(target: Target, block: SourceBlock) -> Bounds:
    """Lower bounds for every source of a block.

    Args:
        target: The target.
        block: N sources with K classes in all.

    Returns:
        The bounds, in squared feature units.
    """
    m, dimension = len(target.weights), target.factors.shape[1]
    classes_mK = np.zeros((m, len(block.class_weights)))
    headroom_mK = np.zeros_like(classes_mK)
    for start in range(0, classes_mK.shape[1], _CLASSES_PER_BATCH):
        part = slice(start, start + _CLASSES_PER_BATCH)
        theirs = torch.from_numpy(block.class_signatures[part])
        theirs = theirs.to(target.signatures.device).double()
        classes_mK[:, part] = _squared_distances(target.signatures, theirs).cpu().numpy()
        aligned = target.signatures[:, dimension:] @ theirs[:, dimension:].T
        headroom_mK[:, part] = (2 * aligned).cpu().numpy()
    pooled = torch.from_numpy(block.source_signatures).double()
    apart_N = torch.linalg.vector_norm(pooled - target.source_signature, dim=1)
    # What was rounded to 32 bits may in truth lie nearer.
    apart_N -= 2**-23 * torch.linalg.vector_norm(pooled, dim=1)
    features_N = apart_N.clamp_min(0).square().numpy()
    # Nothing can be said of samples that are not there.
    without = np.diff(block.sample_starts) == 0
    features_N[without | (len(target.labels) == 0)] = 0.0
    labels_N = _one_sided(classes_mK, target.weights, block)
    return Bounds(classes_mK, headroom_mK, labels_N, features_N)


def _squared_distances(first_mD: Tensor, second_KD: Tensor) -> Tensor:
    """Through products; what rounding may have added is taken off."""
    lengths_mK = first_mD.square().sum(1)[:, None] + second_KD.square().sum(1)[None]
    distances_mK = lengths_mK - 2 * first_mD @ second_KD.T
    return (distances_mK - 1e-6 * lengths_mK).clamp_min(0)


def _one_sided(classes_mK: Floats, weights_m: Floats, block: SourceBlock) -> Floats:
    """``[N]``: every class goes to whichever is nearest, from either side; the larger counts."""
    if not len(block):
        return np.zeros(0)
    starts = block.class_starts[:-1].astype(np.int64)
    nearest_mN = np.minimum.reduceat(classes_mK, starts, axis=1)
    shares_K = classes_mK.min(0) * block.class_weights
    both: Floats = np.maximum(weights_m @ nearest_mN, np.add.reduceat(shares_K, starts))
    return both


class ClassPlan:
    """Transport between the classes of the target and of one source, as far as it is known.

    Label distances that no plan has used yet stand at their bound plus a share of their headroom:
    the share that those evaluated turned out to have.

    Attributes:
        row: Which source of the block.
        weights: ``[n]`` its class shares.
        coupling: ``[m, n]`` the plan.
        costs: ``[m, n]`` squared label distances, true where ``known``, typical elsewhere.
        known: ``[m, n]`` bool.
    """

    __slots__ = ("_bounds", "_headroom", "classes", "costs", "coupling", "known", "row", "weights")

    def __init__(self, block: SourceBlock, bounds: Bounds, row: int) -> None:
        """Nothing known yet.

        Args:
            block: The sources.
            bounds: Of these sources.
            row: Which of them.
        """
        self.row, self.classes = row, block.classes(row)
        weights = np.asarray(block.class_weights[self.classes], dtype=np.float64)
        self.weights = weights / weights.sum()
        self._bounds = bounds.classes[:, self.classes]
        self._headroom = bounds.headroom[:, self.classes]
        self.costs = self._bounds + _TYPICAL_SHARE * self._headroom
        self.known = np.zeros(self.costs.shape, dtype=bool)
        self.coupling = np.zeros(self.costs.shape)

    @property
    def cost(self) -> float:
        """Squared feature units."""
        return float((self.coupling * self.costs).sum())

    def solve(self, target_weights: Floats) -> Pairs:
        """Find the plan for the costs as they stand; return the pairs it uses that are unknown."""
        scale = max(float(self.costs.max()), np.finfo(np.float64).tiny)
        self.coupling = solvers.exact_plan(target_weights, self.weights, self.costs / scale)
        left, right = np.nonzero((self.coupling > 0) & ~self.known)
        return left, right

    def learn(self, pairs: Pairs, shares: Floats) -> None:
        """Take in of evaluated pairs which share of their headroom they use."""
        self.costs[pairs] = self._bounds[pairs] + shares * self._headroom[pairs]
        self.known[pairs] = True
        room = self._headroom[self.known].sum()
        if room > 0:
            used = (self.costs - self._bounds)[self.known].sum() / room
            self.costs = np.where(self.known, self.costs, self._bounds + used * self._headroom)


def transport_classes(
    target: Target, block: SourceBlock, bounds: Bounds, rows: Sequence[int], *, rank: int
) -> list[ClassPlan]:
    """Transport between classes for many sources at once, evaluating what the plans use.

    An estimate, unlike :func:`core.ot.class_transport.transport_classes`: decompositions are of
    factors of a chosen rank, in half precision and in batches over all sources, and after two
    rounds the plan is taken as it is.

    Args:
        target: The target.
        block: The sources.
        bounds: Of these sources.
        rows: Which of them.
        rank: Columns of the covariance factors, at most 32.

    Returns:
        One plan for each row, in order.
    """
    plans = [ClassPlan(block, bounds, row) for row in rows]
    for _ in range(_ROUNDS):
        evaluate(target, block, [(plan, plan.solve(target.weights)) for plan in plans], rank)
    return plans


def evaluate(
    target: Target,
    block: SourceBlock,
    wanted: Sequence[tuple[ClassPlan, Pairs]],
    rank: int,
) -> None:
    """Let plans learn pairs of classes, in batches over all of them."""
    none = np.zeros(0, np.int64)
    left = np.concatenate([none, *(pairs[0] for _, pairs in wanted)])
    right = np.concatenate([none, *(pairs[1] + plan.classes.start for plan, pairs in wanted)])
    parts = [slice(start, start + _PAIRS_PER_BATCH)
             for start in range(0, len(left), _PAIRS_PER_BATCH)]  # fmt: skip

    def used(part: slice) -> Floats:
        return _headroom_used(target, block, left[part], right[part], rank)

    shares = np.concatenate([np.zeros(0), *cores.spread(used, parts)])
    start = 0
    for plan, pairs in wanted:
        if len(pairs[0]):
            plan.learn(pairs, shares[start : start + len(pairs[0])])
            start += len(pairs[0])


def _headroom_used(
    target: Target, block: SourceBlock, left: Integers, right: Integers, rank: int
) -> Floats:
    """``[P]`` in [0, 1]: one less the share of the aligned spectra that the nuclear norm keeps.

    That share grows with the rank it is counted at: it is counted at half the rank as well, and
    extrapolated linearly to all of the spectrum. Singular values come from the Gram matrix: an
    error of 1e-8 does not matter to an estimate, and it is a third faster.
    """
    device, dimension = target.signatures.device, target.factors.shape[1]
    rank = min(rank, target.factors.shape[-1])
    products_PRR = _products(target, block, left, right, rank)
    ours = torch.from_numpy(left).to(device)
    spectra = torch.from_numpy(block.class_signatures[right, dimension:]).to(device)
    spectra_PD = target.signatures[ours, dimension:] * spectra
    total_P = spectra_PD.sum(1)
    aligned_P, kept_P = _alignment(products_PRR, spectra_PD)
    half_P, half_kept_P = _alignment(products_PRR[:, : rank // 2, : rank // 2], spectra_PD)
    run_P = kept_P - half_kept_P
    slope_P = torch.where(run_P > 0, (aligned_P - half_P) / run_P, 0.0).clamp_min(0)
    aligned_P = (aligned_P + slope_P * (total_P - kept_P)).clamp(0, 1)
    used: Floats = (1 - aligned_P).cpu().numpy()
    return used


def _products(
    target: Target, block: SourceBlock, left: Integers, right: Integers, rank: int
) -> Tensor:
    """``[P, R, R]`` float64 products of factors, multiplied in single precision.

    What is stored of the sources has half of that. The target's factors are scaled to one first,
    so that neither precision can over- or underflow; all pairs of one of its classes at once.
    """
    device, factors_mDR = target.factors.device, target.factors[..., :rank]
    scales_m = factors_mDR.abs().amax((1, 2))
    scales_m = torch.where(scales_m > 0, scales_m, 1.0)
    own_mRD = (factors_mDR / scales_m[:, None, None]).mT.float()
    products_PRR = factors_mDR.new_zeros(len(left), rank, rank)
    for own in np.unique(left).tolist():
        pairs = np.flatnonzero(left == own)
        theirs = torch.from_numpy(block.class_factors[right[pairs]]).to(device)
        products_PRR[torch.from_numpy(pairs)] = (
            own_mRD[own] @ theirs[..., :rank].float()
        ).double()
    theirs_P = torch.from_numpy(block.class_scales[right]).to(device).double()
    return products_PRR * (scales_m[torch.from_numpy(left)] * theirs_P)[:, None, None]


def _alignment(products_PRR: Tensor, spectra_PD: Tensor) -> tuple[Tensor, Tensor]:
    """Nuclear norms as a share of what alignment would give, and that."""
    kept_P = spectra_PD[:, : products_PRR.shape[-1]].sum(1)
    values_PR = torch.linalg.eigvalsh(products_PRR @ products_PRR.mT)
    norms_P = values_PR.clamp_min(0).sqrt().sum(1)
    return torch.where(kept_P > 0, norms_P / kept_P, 1.0), kept_P
