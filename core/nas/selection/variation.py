"""Genotypes drawn, changed and crossed: what every search among discrete cells begins with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from core.nas.genotype import Cell, Edge, Genotype
from core.nas.space import CELL_SPACES, CellSpace, Space

_T = TypeVar("_T")


def sample(space: Space, strengths: Mapping[str, Tensor], generator: torch.Generator) -> Genotype:
    """A genotype drawn by its operations' weights.

    Every node draws its in-edges one after another, each with its operation, from what is left:
    a pair of source and operation in proportion to its weight. Sharper weights bring the draw
    nearer to `core.nas.derive.strongest`. Where all edges are kept, each draws its operation.

    Args:
        space: The space.
        strengths: ``[edges, O]`` by kind of cell, not negative; see `Supernet.strengths`.
        generator: Draws (CPU).

    Raises:
        ValueError: a weight is negative or not finite.
    """
    for kind in space.kinds:
        weights = strengths[kind]
        if not bool(weights.isfinite().all()) or bool((weights < 0).any()):
            raise ValueError(f"strengths.{kind}: expected finite weights that are not negative")
    found = {kind: _sample(strengths[kind], space, generator) for kind in space.kinds}
    return Genotype(found["normal"], found.get("reduction", ()), space.cells)


def uniform_sample(space: Space, generator: torch.Generator) -> Genotype:
    """A random genotype: every set of in-edges and every operation equally likely."""
    alike = torch.ones(space.edges, len(space.operations))
    return sample(space, dict.fromkeys(space.kinds, alike), generator)


def mutate(genotype: Genotype, generator: torch.Generator) -> Genotype:
    """The genotype with one edge changed: another operation or another source, equally likely.

    As Real et al. 2019 (arXiv 1802.01548), section 3.1. A source changes only where the node has
    one to spare; otherwise the operation does.

    Args:
        genotype: Unchanged.
        generator: Draws cell, node, edge and change (CPU).

    Returns:
        Another genotype: never the same.
    """
    space = CELL_SPACES[genotype.cells]
    kind = _choose(["normal", "reduction"] if space.reduction else ["normal"], generator)
    cell: Cell = getattr(genotype, kind)
    at = _draw(len(cell), generator)
    node = cell[at]
    index = _draw(len(node), generator)
    edge = node[index]
    used = {other.source for other in node}
    spare = [source for source in range(at + space.inputs) if source not in used]
    others = [name for name in choices(space) if name != edge.operation]
    if spare and _draw(2, generator):
        changed = replace(edge, source=_choose(spare, generator))
    else:
        changed = replace(edge, operation=_choose(others, generator))
    edges = sorted((*node[:index], changed, *node[index + 1 :]), key=lambda each: each.source)
    mutated: Cell = (*cell[:at], tuple(edges), *cell[at + 1 :])
    if kind == "normal":
        return replace(genotype, normal=mutated)
    return replace(genotype, reduction=mutated)


def cross(first: Genotype, second: Genotype, generator: torch.Generator) -> Genotype:
    """A child that takes every node of either cell from one parent or the other.

    Uniform crossover; a node's edges stay together, for they were chosen as a sum.

    Raises:
        ValueError: parents of different cell spaces or numbers of nodes.
    """
    if first.cells != second.cells or len(first.normal) != len(second.normal):
        raise ValueError("genotypes: parents of different spaces have no child")
    normal = _cross(first.normal, second.normal, generator)
    reduction = _cross(first.reduction, second.reduction, generator)
    return replace(first, normal=normal, reduction=reduction)


def choices(space: CellSpace) -> tuple[str, ...]:
    """The operations that a derived edge may have."""
    if space.kept is None:
        return space.operations
    return tuple(name for name in space.operations if name != "none")


def _sample(strengths: Tensor, space: Space, generator: torch.Generator) -> Cell:
    weights = strengths.detach().cpu().double().clone()
    # Weights that round to zero must not leave a node without enough edges to draw.
    weights.clamp_min_(1e-300)
    columns = [space.operations.index(name) for name in choices(space.cell)]
    nodes = []
    for node in range(space.nodes):
        rows = [space.edge(node, source) for source in range(space.sources(node))]
        table = weights[rows][:, columns]
        if space.cell.kept is None:
            drawn = torch.multinomial(table, 1, generator=generator)
            pairs = list(enumerate(drawn.flatten().tolist()))
        else:
            pairs = _pairs(table, space.cell.kept, generator)
        nodes.append(
            tuple(Edge(space.operations[columns[at]], source) for source, at in sorted(pairs))
        )
    return tuple(nodes)


def _pairs(table: Tensor, count: int, generator: torch.Generator) -> list[tuple[int, int]]:
    """`count` (row, column) pairs of ``[S, O]``, by weight and never two of one row."""
    pairs = []
    for _ in range(count):
        drawn = int(torch.multinomial(table.flatten(), 1, generator=generator))
        pairs.append(divmod(drawn, table.shape[1]))
        table[pairs[-1][0]] = 0.0
    return pairs


def _cross(first: Cell, second: Cell, generator: torch.Generator) -> Cell:
    pairs = zip(first, second, strict=True)
    return tuple(mine if _draw(2, generator) else yours for mine, yours in pairs)


def _draw(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=generator))


def _choose(options: Sequence[_T], generator: torch.Generator) -> _T:
    return options[_draw(len(options), generator)]
