"""From relaxed to discrete: which operations a supernet's alphas prefer."""

from __future__ import annotations

import torch
from torch import Tensor

from core.nas.genotype import OPERATIONS, Cell, Edge, Genotype
from core.nas.space import Space
from core.nas.supernet import Supernet


def derive(supernet: Supernet) -> Genotype:
    """The genotype by magnitude (Liu et al. 2019, section 2.4).

    Every node keeps the two in-edges whose strongest operation, other than ``none``, weighs
    most, each with that operation. Ties go to the lower source and the earlier operation.

    Args:
        supernet: Its alphas are read; nothing else matters.

    Returns:
        A genotype with the nodes of the supernet's space.

    Raises:
        ValueError: the alphas are not finite.
    """
    normal, reduction = (
        _strongest(alphas.detach(), supernet.space) for alphas in supernet.alpha_parameters()
    )
    return Genotype(normal=normal, reduction=reduction)


def mean_entropy(alphas: Tensor) -> float:
    """Mean entropy in nats of the rows of softmaxed `alphas` ``[edges, 8]``; at most ``log 8``."""
    logs = alphas.detach().double().log_softmax(dim=-1)
    return float(torch.special.entr(logs.exp()).sum(dim=-1).mean())


def _strongest(alphas: Tensor, space: Space) -> Cell:
    if not bool(alphas.isfinite().all()):
        raise ValueError("alphas: not finite")
    weights = alphas.double().softmax(dim=-1).cpu()
    best, operations = weights[:, 1:].max(dim=-1)  # "none" comes first
    nodes = []
    for node in range(space.nodes):
        rows = [space.edge(node, source) for source in range(node + 2)]
        ranked = sorted(range(node + 2), key=lambda source: -best[rows[source]].item())
        first, second = (
            Edge(OPERATIONS[1 + int(operations[rows[source]])], source)
            for source in sorted(ranked[:2])
        )
        nodes.append((first, second))
    return tuple(nodes)
