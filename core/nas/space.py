"""The search space as a frozen value: what fixes the shape of every tensor of a supernet.

Imports no torch: the serving process validates spaces too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

_LIMITS = {
    "channels": (2, 512),
    # Fewer than three layers leave no normal cell between the two reductions.
    "layers": (3, 64),
    "nodes": (1, 8),
    "stem_multiplier": (1, 8),
    "input_channels": (1, 16),
}


@dataclass(frozen=True, slots=True)
class Space:
    """The DARTS cell space (Liu et al. 2019, sections 2.1 and 3.1).

    Args:
        channels: Width of the first cell; even, doubled at each reduction.
        layers: Cells; those at ``layers // 3`` and ``2 * layers // 3`` are reductions.
        nodes: Intermediate nodes of a cell.
        stem_multiplier: The stem has ``stem_multiplier * channels`` channels.
        input_channels: Channels of an image.

    Raises:
        ValueError: a field is not an integer in its range, or `channels` is odd.
    """

    channels: int = 16
    layers: int = 8
    nodes: int = 4
    stem_multiplier: int = 3
    input_channels: int = 3

    def __post_init__(self) -> None:
        for name, (low, high) in _LIMITS.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise ValueError(f"space.{name}: expected an integer, got {value!r}")
            if not low <= value <= high:
                raise ValueError(f"space.{name}: {value} is not in {low}..{high}")
        if self.channels % 2:
            raise ValueError(f"space.channels: {self.channels} is odd; reductions halve it")

    @property
    def reduction_layers(self) -> tuple[int, int]:
        """Indices of the two cells that halve the resolution and double the width."""
        return self.layers // 3, 2 * self.layers // 3

    @property
    def edges(self) -> int:
        """Edges of one cell: node ``k`` has ``k + 2`` possible sources."""
        return sum(node + 2 for node in range(self.nodes))

    @property
    def feature_channels(self) -> int:
        """Channels that the classifier sees: two reductions, nodes concatenated."""
        return 4 * self.channels * self.nodes

    def edge(self, node: int, source: int) -> int:
        """The alpha row of the edge from state `source` into `node`."""
        return node * (node + 3) // 2 + source

    def to_dict(self) -> dict[str, int]:
        """The fields as JSON-able values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Space:
        """Read what `to_dict` wrote; missing fields take their defaults.

        Raises:
            ValueError: an unknown field, or a value that the space refuses.
        """
        unknown = sorted(set(value) - {field.name for field in fields(cls)})
        if unknown:
            raise ValueError(f"space: unknown field {unknown[0]!r}")
        return cls(**value)
