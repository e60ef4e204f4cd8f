"""From relaxed to discrete: which operations a supernet's alphas prefer."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from core.nas.genotype import Cell, Edge, Genotype
from core.nas.space import Space
from core.nas.supernet import Relaxation, Supernet, softmax


def derive(
    supernet: Supernet, preference: Relaxation = softmax, *, max_skips: int | None = None
) -> Genotype:
    """The genotype by magnitude (Liu et al. 2019, section 2.4).

    Every node keeps the in-edges whose strongest operation, other than ``none``, weighs most,
    each with that operation; as many as its cell space says. Where all edges are kept, each has
    its strongest operation, ``none`` included. Ties go to the lower source and the earlier
    operation.

    Args:
        supernet: Its architecture parameters are read; nothing else matters.
        preference: How alphas become the weights that are compared; a method of search has its
            own (`core.nas.methods.Method.preference`).
        max_skips: Most skip connections in the normal cell (P-DARTS, Chen et al. 2019, arXiv
            1904.12760, section 3.3). While there are more, the weakest is ruled out and its node
            derived anew; `none` does not take its place, and an edge that has nothing but its
            skip left (what was dropped weighs 0) keeps it. None for any number.

    Returns:
        A genotype with the nodes of the supernet's space.

    Raises:
        ValueError: the alphas are not finite, or `max_skips` is negative.
    """
    space, strengths = supernet.space, supernet.strengths(preference)
    if max_skips is None:
        return strongest(space, strengths)
    if max_skips < 0:
        raise ValueError(f"max_skips: {max_skips} is negative")
    strengths = {kind: weights.double().cpu().clone() for kind, weights in strengths.items()}
    genotype = strongest(space, strengths)
    while genotype.skip_count > max_skips:
        if not _weakest_skip_removed(space, strengths["normal"], genotype.normal):
            break
        genotype = strongest(space, strengths)
    return genotype


def _weakest_skip_removed(space: Space, weights: Tensor, cell: Cell) -> bool:
    """Rule out, in place, the weakest skip connection of `cell` that something can replace."""
    skip = space.operations.index("skip_connect")
    others = [c for c, name in enumerate(space.operations) if name not in ("none", "skip_connect")]
    rows = [
        space.edge(node, edge.source)
        for node, edges in enumerate(cell)
        for edge in edges
        if edge.operation == "skip_connect"
    ]
    rows = [row for row in rows if bool((weights[row, others] > 0).any())]
    if not rows:
        return False
    weakest = min(rows, key=lambda row: float(weights[row, skip]))
    weights[weakest, skip] = -1.0
    if "none" in space.operations:
        weights[weakest, space.operations.index("none")] = -1.0
    return True


def strongest(space: Space, strengths: Mapping[str, Tensor]) -> Genotype:
    """The genotype that operations' weights prefer, by the rule of `derive`.

    Args:
        space: The space.
        strengths: ``[edges, O]`` by kind of cell; compared with each other only.

    Raises:
        ValueError: a weight is not finite.
    """
    found = {kind: _strongest(strengths[kind], space) for kind in space.kinds}
    return Genotype(found["normal"], found.get("reduction", ()), space.cells)


def mean_entropy(alphas: Tensor) -> float:
    """Mean entropy in nats of the rows of softmaxed `alphas` ``[edges, O]``; at most ``log O``."""
    logs = alphas.detach().double().log_softmax(dim=-1)
    return float(torch.special.entr(logs.exp()).sum(dim=-1).mean())


def _strongest(strengths: Tensor, space: Space) -> Cell:
    if not bool(strengths.isfinite().all()):
        raise ValueError("alphas: not finite")
    weights = strengths.double().cpu().clone()
    if space.cell.kept is not None and "none" in space.operations:
        weights[:, space.operations.index("none")] = -1.0
    best, operations = weights.max(dim=-1)
    nodes = []
    for node in range(space.nodes):
        sources = range(space.sources(node))
        ranked = sorted(sources, key=lambda source: -best[space.edge(node, source)].item())
        nodes.append(
            tuple(
                Edge(space.operations[int(operations[space.edge(node, source)])], source)
                for source in sorted(ranked[: space.cell.kept])
            )
        )
    return tuple(nodes)
