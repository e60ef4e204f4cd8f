"""A discrete cell architecture as a frozen value, and its JSON form.

Imports no torch: the serving process reads genotypes too.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

# The candidates of DARTS (Liu et al. 2019, section 3.1) in the order every stored alpha uses.
OPERATIONS = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)


@dataclass(frozen=True, slots=True)
class Edge:
    """One kept edge: `operation` applied to state `source` (0 and 1 are the cell's inputs)."""

    operation: str
    source: int


Cell = tuple[tuple[Edge, Edge], ...]


@dataclass(frozen=True, slots=True)
class Genotype:
    """Two kept in-edges for every node of the normal and of the reduction cell.

    Node ``k`` is state ``k + 2``, so its sources are smaller than ``k + 2``.

    Raises:
        ValueError: a cell is empty, an operation unknown or ``none``, a source out of range or
            used twice by one node.
    """

    normal: Cell
    reduction: Cell

    def __post_init__(self) -> None:
        _check_cell("normal", self.normal)
        _check_cell("reduction", self.reduction)
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
        cells = {
            "normal": _cell_to_lists(self.normal),
            "reduction": _cell_to_lists(self.reduction),
        }
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
            cells = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"genotype: not JSON: {error}") from error
        if not isinstance(cells, dict) or set(cells) != {"normal", "reduction"}:
            raise ValueError("genotype: expected an object with exactly 'normal' and 'reduction'")
        return cls(
            normal=_cell_from_lists("normal", cells["normal"]),
            reduction=_cell_from_lists("reduction", cells["reduction"]),
        )


def _check_cell(name: str, cell: Cell) -> None:
    if not cell:
        raise ValueError(f"genotype.{name}: no nodes")
    for index, node in enumerate(cell):
        where = f"genotype.{name}[{index}]"
        if len(node) != 2:
            raise ValueError(f"{where}: expected 2 edges, got {len(node)}")
        for edge in node:
            if edge.operation not in OPERATIONS or edge.operation == "none":
                raise ValueError(f"{where}: unknown operation {edge.operation!r}")
            if not 0 <= edge.source < index + 2:
                raise ValueError(f"{where}: source {edge.source} is not in 0..{index + 1}")
        if node[0].source == node[1].source:
            raise ValueError(f"{where}: both edges come from state {node[0].source}")


def _cell_to_lists(cell: Cell) -> list[list[list[str | int]]]:
    return [[[edge.operation, edge.source] for edge in node] for node in cell]


def _cell_from_lists(name: str, value: Any) -> Cell:
    if not isinstance(value, list):
        raise ValueError(f"genotype.{name}: expected a list of nodes")
    return tuple(_node_from_lists(f"genotype.{name}[{i}]", node) for i, node in enumerate(value))


def _node_from_lists(where: str, value: Any) -> tuple[Edge, Edge]:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f"{where}: expected a list of 2 edges")
    edges = [_edge_from_list(f"{where}[{index}]", edge) for index, edge in enumerate(value)]
    return edges[0], edges[1]


def _edge_from_list(where: str, value: Any) -> Edge:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f"{where}: expected [operation, source]")
    operation, source = value
    if not isinstance(operation, str):
        raise ValueError(f"{where}: the operation is not text")
    if not isinstance(source, int) or isinstance(source, bool):
        raise ValueError(f"{where}: the source is not an integer")
    return Edge(operation, source)
