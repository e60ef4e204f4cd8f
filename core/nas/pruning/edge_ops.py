"""Operations on the edges of a supernet as components of a subset."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from core.nas.derive import strongest
from core.nas.genotype import Cell, Edge, Genotype
from core.nas.objectives import CostTable
from core.nas.pruning.components import by_group
from core.nas.space import Space
from core.nas.supernet import Supernet

_BISECTIONS = 60


class EdgeComponents:
    """One mask for each operation, on each edge, of each kind of cell.

    Masks weigh operations as they are, not divided by their sum: what is left of a node is then
    what the derived network computes, each kept operation in full, and an operation that is alone
    on its edge still has a slope. ``none`` computes nothing and always weighs 0.

    Args:
        model: Computes with the masks from now on; all operations to begin with.
        costs: Of the space's operations.

    Raises:
        ValueError: a supernet of partial channels, whose edges have weights of their own.
    """

    def __init__(self, model: Supernet, costs: CostTable) -> None:
        self.space = model.space
        if self.space.partial > 1:
            raise ValueError("supernet: not with partial channels")
        self.model, self.costs = model, costs
        for parameter in model.alpha_parameters():
            parameter.requires_grad_(False)  # the masks are in their place
        operations = self.space.operations
        self._shape = (self.space.edges, len(operations))
        self.sizes: dict[str, int] = {
            kind: self.space.edges * len(operations) for kind in self.space.kinds
        }
        self.count = sum(self.sizes.values())
        computing = torch.tensor([float(name != "none") for name in operations])
        self._computing = computing.expand(self._shape)
        self._masks = torch.ones(self.count)
        model.relaxation = lambda kind, alphas: self._weights(self._masks)[kind].to(alphas)
        self.whole = float(costs.expected(self._weights(self._masks)))

    def put(self, masks: Tensor) -> None:
        """Let the supernet mix operations by these masks ``[K]``."""
        self._masks = masks

    def cost(self, masks: Tensor) -> Tensor:
        """What the masked operations cost of all of them, in 0..1.

        For the mask of a genotype it is the genotype's cost, exactly.
        """
        return self.costs.expected(self._weights(masks.double())) / self.whole

    def feasible(self, scores: Tensor, threshold: float = 0.0) -> Tensor:
        """``[K]`` bool: the operations of `genotype`."""
        return self.mask(self.genotype(scores, threshold))

    def fit(self, scores: Tensor, target: float) -> Tensor:
        """``[K]`` bool: the best genotype that fits when costs are taken off the scores.

        A cell keeps its number of edges, so there is a smallest one: it is returned where even
        that costs more.
        """
        prices = torch.cat([torch.tensor(self.costs.edges[k]).flatten() for k in self.sizes])
        prices = prices.double() / self.whole
        extent = float(scores.double().max() - scores.double().min()) + 1e-12
        gaps = prices.sort().values.diff()
        high = 2 * extent / float(gaps[gaps > 0].min()) if bool((gaps > 0).any()) else 0.0

        def at(price: float) -> Tensor:
            return self.feasible(scores.double().cpu() - price * prices)

        if float(self.cost(at(0.0))) <= target:
            return at(0.0)
        low = 0.0
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            low, high = (low, middle) if float(self.cost(at(middle))) <= target else (middle, high)
        return at(high)

    def redraw(self, generator: torch.Generator) -> None:
        """Give the supernet fresh weights."""
        fresh = Supernet(self.space, self.model.classes, generator).to(
            self.model.classifier.weight.device
        )
        self.model.load_state_dict(fresh.state_dict())

    def mask(self, genotype: Genotype) -> Tensor:
        """``[K]`` bool: what a genotype is made of, ``none`` left out."""
        found = torch.zeros(self.count, dtype=torch.bool)
        cells = {"normal": genotype.normal, "reduction": genotype.reduction}
        for kind, part in by_group(found, self.sizes).items():
            for node, edges in enumerate(cells[kind]):
                for edge in edges:
                    column = self.space.operations.index(edge.operation)
                    kept = edge.operation != "none"
                    part.view(self._shape)[self.space.edge(node, edge.source), column] = kept
        return found

    def genotype(self, scores: Tensor, threshold: float = 0.0) -> Genotype:
        """The cells that scores ``[K]`` prefer.

        Where a node keeps a number of edges: its best ones, each with its best operation, so that
        what is above the threshold comes first and the cell is whole where too little is.
        Where edges may be empty: what is above the threshold, and of the rest what the cell's
        output needs to depend on its input; nothing that leads nowhere.
        """
        parts = {
            kind: part.view(self._shape) for kind, part in by_group(scores, self.sizes).items()
        }
        if self.space.cell.kept is not None:
            lowest = scores.min()  # the rule is for weights, which are not negative
            return strongest(self.space, {kind: part - lowest for kind, part in parts.items()})
        cells: dict[str, Cell] = {
            kind: _connected(self.space, part.tolist(), threshold) for kind, part in parts.items()
        }
        return Genotype(cells["normal"], cells.get("reduction", ()), self.space.cells)

    def _weights(self, masks: Tensor) -> Mapping[str, Tensor]:
        parts = by_group(masks, self.sizes)
        return {
            kind: part.view(self._shape) * self._computing.to(part) for kind, part in parts.items()
        }


def _connected(space: Space, scores: list[list[float]], threshold: float) -> Cell:
    """A cell whose edges may be empty: every edge that computes lies on a way through it."""
    columns = [at for at, name in enumerate(space.operations) if name != "none"]
    best = [max(columns, key=lambda at: (row[at], -at)) for row in scores]
    pairs = [
        (node, source) for node in range(space.nodes) for source in range(space.sources(node))
    ]
    value = {(n, s): scores[space.edge(n, s)][best[space.edge(n, s)]] for n, s in pairs}
    open_ = {pair for pair in pairs if value[pair] > threshold}
    inputs = space.cell.inputs
    # From the last node back: whoever is needed and reads nothing gets its best edge.
    needed = {space.nodes - 1}
    for node in reversed(range(space.nodes)):
        if node not in needed:
            continue
        mine = [(node, source) for source in range(space.sources(node))]
        if not any(pair in open_ for pair in mine):
            open_.add(max(mine, key=lambda pair: (value[pair], -pair[1])))
        needed |= {source - inputs for _, source in mine if (node, source) in open_}
    return tuple(
        tuple(
            Edge(
                space.operations[best[space.edge(node, source)]]
                if node in needed and (node, source) in open_
                else "none",
                source,
            )
            for source in range(space.sources(node))
        )
        for node in range(space.nodes)
    )
