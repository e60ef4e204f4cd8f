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
    "partial": (1, 8),
}
STEM_STRIDES = (1, 2, 4, 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class CellSpace:
    """Which cells there are: operations per edge, and how edges become a cell.

    A cell is a complete acyclic graph over its inputs and nodes; every node sums its in-edges.

    Attributes:
        operations: Candidates of every edge, in the order of the alphas' columns.
        inputs: Cells before this one that it reads, one or two.
        kept: In-edges that a derived node keeps, each with one operation other than ``none``;
            None keeps all of them, and ``none`` may be what is kept.
        reduction: Whether cells that halve the resolution are searched too; otherwise residual
            blocks stand in their place.
        concatenated: Whether a cell's output is all nodes side by side, or the last node alone.
        normalised_pools: Whether pooling is followed by batch normalisation.
    """

    operations: tuple[str, ...]
    inputs: int = 2
    kept: int | None = 2
    reduction: bool = True
    concatenated: bool = True
    normalised_pools: bool = True


CELL_SPACES: Mapping[str, CellSpace] = {
    # Liu et al. 2019 (arXiv 1806.09055), section 3.1.
    "darts": CellSpace(
        operations=(
            "none",
            "max_pool_3x3",
            "avg_pool_3x3",
            "skip_connect",
            "sep_conv_3x3",
            "sep_conv_5x5",
            "dil_conv_3x3",
            "dil_conv_5x5",
        )
    ),
    # Zela et al. 2020 (arXiv 1909.09656), section 3: where plain DARTS collapses to skips.
    "s2": CellSpace(operations=("skip_connect", "sep_conv_3x3")),
    "s3": CellSpace(operations=("none", "skip_connect", "sep_conv_3x3")),
    # Dong & Yang 2020 (arXiv 2001.00326), section 2.1.
    "nas-bench-201": CellSpace(
        operations=("none", "skip_connect", "conv_1x1", "conv_3x3", "avg_pool_3x3"),
        inputs=1,
        kept=None,
        reduction=False,
        concatenated=False,
        normalised_pools=False,
    ),
}


@dataclass(frozen=True, slots=True)
class Space:
    """A cell space at a size (Liu et al. 2019, sections 2.1 and 3.1).

    Args:
        channels: Width of the first cell; even, doubled at each reduction.
        layers: Cells; those at ``layers // 3`` and ``2 * layers // 3`` are reductions.
        nodes: Intermediate nodes of a cell.
        stem_multiplier: The stem has ``stem_multiplier * channels`` channels.
        input_channels: Channels of an image.
        cells: A key of `CELL_SPACES`.
        stem_stride: How much smaller the first cell's maps are than the images; see
            `stem_stride_for`.
        partial: Only the first ``1 / partial`` of a state's channels are mixed, the others pass
            by (PC-DARTS, Xu et al. 2020, equation 1); 1 mixes all.

    Raises:
        ValueError: a field is not an integer in its range, `channels` is odd or does not divide,
            or there is no such cell space.
    """

    channels: int = 16
    layers: int = 8
    nodes: int = 4
    stem_multiplier: int = 3
    input_channels: int = 3
    cells: str = "darts"
    stem_stride: int = 1
    partial: int = 1

    def __post_init__(self) -> None:
        for name, (low, high) in _LIMITS.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise ValueError(f"space.{name}: expected an integer, got {value!r}")
            if not low <= value <= high:
                raise ValueError(f"space.{name}: {value} is not in {low}..{high}")
        if self.channels % 2:
            raise ValueError(f"space.channels: {self.channels} is odd; reductions halve it")
        if self.cells not in CELL_SPACES:
            raise ValueError(f"space.cells: {self.cells!r} is not in {', '.join(CELL_SPACES)}")
        if self.stem_stride not in STEM_STRIDES:
            raise ValueError(f"space.stem_stride: {self.stem_stride!r} is not in 1, 2, 4, 8")
        if self.channels % (2 * self.partial) and self.partial > 1:
            raise ValueError(
                f"space.channels: {self.channels} is no multiple of {2 * self.partial}, "
                "twice the space's partial"
            )

    @property
    def cell(self) -> CellSpace:
        """What the cells are made of."""
        return CELL_SPACES[self.cells]

    @property
    def operations(self) -> tuple[str, ...]:
        """Candidates of every edge, in the order of the alphas' columns."""
        return self.cell.operations

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of cell that are searched, each with its own alphas."""
        return ("normal", "reduction") if self.cell.reduction else ("normal",)

    @property
    def reduction_layers(self) -> tuple[int, int]:
        """Indices of the two cells that halve the resolution and double the width."""
        return self.layers // 3, 2 * self.layers // 3

    @property
    def edges(self) -> int:
        """Edges of one cell: node ``k`` has ``k + inputs`` possible sources."""
        return sum(self.sources(node) for node in range(self.nodes))

    @property
    def stem_channels(self) -> int:
        """Channels of the stem; cells that read one input take it at their own width."""
        return self.channels * (self.stem_multiplier if self.cell.inputs == 2 else 1)

    @property
    def feature_channels(self) -> int:
        """Channels that the classifier sees: two reductions, nodes concatenated or the last."""
        return 4 * self.channels * (self.nodes if self.cell.concatenated else 1)

    def sources(self, node: int) -> int:
        """States that node `node` may read: the cell's inputs and all earlier nodes."""
        return node + self.cell.inputs

    def edge(self, node: int, source: int) -> int:
        """The alpha row of the edge from state `source` into `node`."""
        return node * self.cell.inputs + node * (node - 1) // 2 + source

    def outgoing(self, source: int) -> range:
        """The nodes that may read state `source`."""
        return range(max(0, source - self.cell.inputs + 1), self.nodes)

    def to_dict(self) -> dict[str, int | str]:
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


def stem_stride_for(resolution: int) -> int:
    """The stem's stride for square images: the first cell sees at most 48 pixels a side.

    As in the paper's networks: CIFAR's 32 pixels are taken as they are, ImageNet's 224 at an
    eighth.

    Args:
        resolution: Side in pixels, from 8 to 224.
    """
    return next((s for s in STEM_STRIDES if resolution <= 48 * s), STEM_STRIDES[-1])
