"""The strongest cells whose network costs at most so much: the complexity dial of a search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from core.nas.genotype import Cell, Edge, Genotype
from core.nas.objectives import CostTable
from core.nas.space import Space

_LEVELS = 8192  # a cost is counted in so many parts of the limit, and rounded up
_LEFT_OUT = -1  # a choice: the edge is not kept

Rows = Mapping[str, NDArray[np.float64]]  # ``[edges, O]`` by kind of cell


def strongest_within(
    strengths: Mapping[str, Tensor],
    costs: CostTable,
    most: float,
    *,
    max_skips: int | None = None,
) -> Genotype:
    """The cells of the largest sum of operations' weights that cost no more.

    As in `core.nas.derive.strongest`, whose nodes keep their strongest edges: the largest sum
    where nothing is limited. With limits it is a multiple-choice knapsack (Kellerer et al. 2004,
    Knapsack Problems, chapter 11) in which every node takes its number of edges, each with one
    operation; solved by dynamic programming over the cost, exactly but for its rounding: up, by
    less than an 8192th of the limit for each edge that is kept. Ties go to the lower source and
    the earlier operation. ``none`` is in no cell, not even where edges may be empty: others cost
    as little, and without it every cell's output depends on its input.

    Args:
        strengths: ``[edges, O]`` by kind of cell, as of `Supernet.strengths`.
        costs: Of the space's operations.
        most: Of the whole network, in the unit of `costs`.
        max_skips: Most skip connections in the normal cell; None for any number.

    Raises:
        ValueError: no cells cost so little, or a weight is not finite.
    """
    space, left = costs.space, most - costs.base
    worth = {kind: strengths[kind].detach().double().cpu().numpy() for kind in space.kinds}
    if not all(np.isfinite(rows).all() for rows in worth.values()):
        raise ValueError("strengths: not finite")
    strongest = _unlimited(space, worth, max_skips)
    if costs.cost(strongest) <= most:
        return strongest
    smallest = cheapest(costs, max_skips=max_skips)
    if (least := costs.cost(smallest)) > most:
        raise ValueError(f"most: {most:g}, less than the {least:g} of this space's cheapest cells")
    scale = _LEVELS / left if left else np.inf
    parts = {kind: _parts(costs.edges[kind], scale) for kind in space.kinds}
    found = _Knapsack(space, worth, parts, _LEVELS, max_skips).solve()
    return found or smallest  # rounded up, even these may seem too dear


def cheapest(costs: CostTable, *, max_skips: int | None = None) -> Genotype:
    """The cells of the lowest cost: no limit can be below.

    Args:
        costs: Of the space's operations.
        max_skips: As in `strongest_within`.
    """
    worth = {kind: -np.asarray(costs.edges[kind]) for kind in costs.space.kinds}
    return _unlimited(costs.space, worth, max_skips)


def _unlimited(space: Space, worth: Rows, max_skips: int | None) -> Genotype:
    free = {kind: np.zeros(rows.shape, np.int64) for kind, rows in worth.items()}
    found = _Knapsack(space, worth, free, 0, max_skips).solve()
    assert found is not None  # every node has the edges that it keeps
    return found


def _parts(edges: tuple[tuple[float, ...], ...], scale: float) -> NDArray[np.int64]:
    """Costs in parts of the limit; of what is beyond it alone, one more than there are."""
    found = np.zeros(np.shape(edges))
    np.multiply(edges, scale, out=found, where=np.asarray(edges) > 0)
    return np.ceil(np.minimum(found, _LEVELS + 1)).astype(np.int64)


@dataclass(slots=True)
class _Knapsack:
    """Edges one after another; what is best so far is known for every rest of the limit.

    Args:
        space: Of the cells.
        worth: Of every operation on every edge.
        parts: Likewise, what it costs.
        levels: The limit.
        max_skips: Of the normal cell.

    Attributes:
        best: ``[kept edges of this node, skips, levels]``, each at most so many but the first:
            the largest worth, minus infinity where there is none.
        choices: Of every edge in its turn, the column it has in each of these states.
    """

    space: Space
    worth: Rows
    parts: Mapping[str, NDArray[np.int64]]
    levels: int
    max_skips: int | None
    best: NDArray[np.float64] = field(init=False)
    choices: list[NDArray[np.int8]] = field(init=False, default_factory=list)

    def solve(self) -> Genotype | None:
        """The cells of the largest worth within the limits, None if there are none."""
        skips = 0 if self.max_skips is None else min(self.max_skips, self.space.edges)
        shape = ((self.space.cell.kept or 0) + 1, skips + 1, self.levels + 1)
        self.best = np.full(shape, -np.inf)
        self.best[0] = 0.0
        turns = [
            (kind, node, source)
            for kind in self.space.kinds
            for node in range(self.space.nodes)
            for source in range(self.space.sources(node))
        ]
        for kind, node, source in turns:
            self._take(kind, node, source)
            if source == self.space.sources(node) - 1:
                self._close()
        if self.best[0, -1, -1] == -np.inf:
            return None
        return self._read(turns)

    def _counts(self, kind: str, name: str) -> int:
        """1 for a skip connection that counts."""
        return int(self.max_skips is not None and kind == "normal" and name == "skip_connect")

    def _take(self, kind: str, node: int, source: int) -> None:
        """Let the edge have each of its operations, or none where it need not be kept."""
        edge, step = self.space.edge(node, source), int(self.space.cell.kept is not None)
        best = self.best.copy() if step else np.full_like(self.best, -np.inf)
        choice = np.full(best.shape, _LEFT_OUT, np.int8)
        for column, name in enumerate(self.space.operations):
            part, skip = int(self.parts[kind][edge, column]), self._counts(kind, name)
            if name == "none" or part > self.levels:
                continue
            kept, skips, levels = best.shape
            before = self.best[: kept - step, : skips - skip, : levels - part]
            after = np.s_[step:, skip:, part:]
            found = before + self.worth[kind][edge, column]
            better = found > best[after]
            best[after][better] = found[better]
            choice[after][better] = column
        self.best = best
        self.choices.append(choice)

    def _close(self) -> None:
        """The next node begins with no edge, and this one has all that it keeps."""
        if (kept := self.space.cell.kept) is not None:
            self.best[0] = self.best[kept]
            self.best[1:] = -np.inf

    def _read(self, turns: list[tuple[str, int, int]]) -> Genotype:
        """Back from the last edge to what was chosen."""
        space, kept = self.space, self.space.cell.kept or 0
        cells: dict[str, list[list[Edge]]] = {
            kind: [[] for _ in range(space.nodes)] for kind in space.kinds
        }
        at, skips, level = kept, self.best.shape[1] - 1, self.levels
        for (kind, node, source), choice in zip(
            reversed(turns), reversed(self.choices), strict=True
        ):
            if source == space.sources(node) - 1:
                at = kept
            column = int(choice[at, skips, level])
            if column == _LEFT_OUT:
                continue
            edge, name = space.edge(node, source), space.operations[column]
            cells[kind][node].insert(0, Edge(name, source))
            at -= int(kept > 0)
            skips -= self._counts(kind, name)
            level -= int(self.parts[kind][edge, column])
        found: dict[str, Cell] = {
            kind: tuple(tuple(edges) for edges in nodes) for kind, nodes in cells.items()
        }
        return Genotype(found["normal"], found.get("reduction", ()), space.cells)
