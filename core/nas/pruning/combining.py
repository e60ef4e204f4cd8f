"""One choice of components from several: each voter's scores, weighed by how near it stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from core.nas.pruning.channels import BLOCKS
from core.nas.pruning.components import by_group


def nearness(distances: Sequence[float]) -> Tensor:
    """``[V]`` weights that sum to 1: softmax(-d / tau), with the mean distance for tau.

    No scale of distances has to be known that way; voters that are all at no distance are equal.
    """
    far = torch.tensor(distances, dtype=torch.float64)
    return torch.softmax(-far / far.mean().clamp_min(1e-12), dim=0)


def combined(
    scores: Sequence[Tensor], weights: Tensor, sizes: Mapping[str, int], *, by_place: bool
) -> Tensor:
    """Scores ``[K]`` that stand for all of these.

    Chunks of fresh channels are interchangeable: that one search keeps the first half of a group
    and another the second is agreement on a half. So the k-th best of a group are averaged, and
    the chunks in front get the higher ones. Blocks are averaged as they are, and so is everything
    where chunks carry weights that will be kept.

    Args:
        scores: Each ``[K]``.
        weights: ``[V]``, of the voters.
        sizes: Components of each group, in the order of the scores.
        by_place: Average each chunk with its like alone.
    """
    votes = torch.stack([each.double() for each in scores])
    parts = []
    for name, part in by_group(votes.T, sizes).items():
        ordered = part if by_place or name == BLOCKS else part.sort(dim=0, descending=True).values
        parts.append(ordered @ weights)
    return torch.cat(parts)
