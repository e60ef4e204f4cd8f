"""The subset of a wanted cost that scores prefer."""

from __future__ import annotations

import torch
from torch import Tensor

from core.nas.pruning.components import Components


@torch.no_grad()
def filled(components: Components, scores: Tensor, target: float) -> Tensor:
    """The highest threshold's subset that fits, then each next component that still does.

    Thresholds alone would miss the target by up to the largest component. Ties go to the earlier
    component.

    Args:
        components: Of independent members, so that one more is one more.
        scores: ``[K]``.
        target: Cost not to exceed, as a share of the whole.

    Returns:
        ``[K]`` bool; the smallest feasible subset where even that costs more.
    """
    scores = scores.double().cpu()
    kept = components.feasible(scores, float("inf"))
    for at in scores.argsort(descending=True, stable=True).tolist():
        more = kept.clone()
        more[at] = True
        if float(components.cost(more)) <= target:
            kept = more
    return kept
