"""A discrete cell architecture as a frozen value, and its JSON form.

Imports no torch: the serving process reads genotypes too.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from core.nas.space import CELL_SPACES, CellSpace


@dataclass(frozen=True, slots=True)
class Edge:
    """One kept edge: `operation` applied to state `source`; the cell's inputs come first."""

    operation: str
    source: int


Cell = tuple[tuple[Edge, ...], ...]


@dataclass(frozen=True, slots=True)
class Genotype:
    """The kept in-edges of every node, by kind of cell.

    Node ``k`` of a cell with i inputs is state ``k + i``, so its sources are smaller than that.

    Args:
        normal: Per node its edges, by rising source.
        reduction: The same of the reduction cell; empty where the space has none.
        cells: The key of `CELL_SPACES` that it belongs to.

    Raises:
        ValueError: a cell is empty, has not the number of edges that its space keeps, an operation
            is unknown or cannot be kept, a source is out of range or used twice by one node.
    """

    normal: Cell
    reduction: Cell
    cells: str = "darts"

    def __post_init__(self) -> None:
        if self.cells not in CELL_SPACES:
            raise ValueError(f"genotype: {self.cells!r} is no cell space")
        space = CELL_SPACES[self.cells]
        _check_cell("normal", self.normal, space)
        if not space.reduction:
            if self.reduction:
                raise ValueError(f"genotype.reduction: {self.cells} has no reduction cell")
            return
        _check_cell("reduction", self.reduction, space)
        if len(self.normal) != len(self.reduction):
            raise ValueError(
                f"genotype: normal has {len(self.normal)} nodes, reduction {len(self.reduction)}"
            )

    @property
    def skip_count(self) -> int:
        """Skip connections in the normal cell: the usual sign of a collapsed search."""
        return sum(edge.operation == "skip_connect" for node in self.normal for edge in node)

    def to_json(self) -> str:
        """The genotype as canonical JSON: equal genotypes give equal text."""
        cells: dict[str, Any] = {
            "normal": _cell_to_lists(self.normal),
            "reduction": _cell_to_lists(self.reduction),
        }
        if self.cells != "darts":  # the text that DARTS genotypes always had stays theirs
            cells["cells"] = self.cells
        return json.dumps(cells, separators=(",", ":"), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Genotype:
        """Read what `to_json` wrote.

        Args:
            text: ``{"normal": [[[operation, source], [operation, source]], ...], ...}``.

        Raises:
            ValueError: what is wrong, and where.
        """
        try:
            return cls.from_dict(json.loads(text))
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"genotype: not JSON: {error}") from error

    @classmethod
    def from_dict(cls, cells: Any) -> Genotype:
        """Read the same as a value, the way models tell it. Raises ValueError likewise."""
        if not isinstance(cells, dict) or set(cells) - {"cells"} != {"normal", "reduction"}:
            raise ValueError("genotype: expected an object with exactly 'normal' and 'reduction'")
        name = cells.get("cells", "darts")
        if not isinstance(name, str):
            raise ValueError("genotype.cells: the name of the cell space is not text")
        return cls(
            normal=_cell_from_lists("normal", cells["normal"]),
            reduction=_cell_from_lists("reduction", cells["reduction"]),
            cells=name,
        )


def _check_cell(name: str, cell: Cell, space: CellSpace) -> None:
    if not cell:
        raise ValueError(f"genotype.{name}: no nodes")
    for index, node in enumerate(cell):
        where = f"genotype.{name}[{index}]"
        possible = index + space.inputs
        wanted = possible if space.kept is None else space.kept
        if len(node) != wanted:
            raise ValueError(f"{where}: expected {wanted} edges, got {len(node)}")
        for edge in node:
            droppable = edge.operation == "none" and space.kept is not None
            if edge.operation not in space.operations or droppable:
                raise ValueError(f"{where}: unknown operation {edge.operation!r}")
            if not 0 <= edge.source < possible:
                raise ValueError(f"{where}: source {edge.source} is not in 0..{possible - 1}")
        sources = [edge.source for edge in node]
        twice = [source for source in sources if sources.count(source) > 1]
        if twice:
            raise ValueError(f"{where}: several edges come from state {twice[0]}")


def _cell_to_lists(cell: Cell) -> list[list[list[str | int]]]:
    return [[[edge.operation, edge.source] for edge in node] for node in cell]


def _cell_from_lists(name: str, value: Any) -> Cell:
    if not isinstance(value, list):
        raise ValueError(f"genotype.{name}: expected a list of nodes")
    return tuple(_node_from_lists(f"genotype.{name}[{i}]", node) for i, node in enumerate(value))


def _node_from_lists(where: str, value: Any) -> tuple[Edge, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{where}: expected a list of edges")
    return tuple(_edge_from_list(f"{where}[{at}]", edge) for at, edge in enumerate(value))


def _edge_from_list(where: str, value: Any) -> Edge:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f"{where}: expected [operation, source]")
    operation, source = value
    if not isinstance(operation, str):
        raise ValueError(f"{where}: the operation is not text")
    if not isinstance(source, int) or isinstance(source, bool):
        raise ValueError(f"{where}: the source is not an integer")
    return Edge(operation, source)
