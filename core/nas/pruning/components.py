"""What a subset is chosen of: components of a network, each kept or left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from core.nas.classifier import ImageClassifier


class Components(Protocol):
    """K components of a network that masks ``[K]`` weigh."""

    @property
    def model(self) -> ImageClassifier:
        """Computes with the masks last `put`; whole to begin with."""

    @property
    def sizes(self) -> Mapping[str, int]:
        """How many components each group of them has, in the order of the masks."""

    def put(self, masks: Tensor) -> None:
        """Let the model compute with these masks ``[K]``, with gradient if they have one."""

    def cost(self, masks: Tensor) -> Tensor:
        """What the masked network costs, a scalar with gradient; 1 for the whole one."""

    def feasible(self, scores: Tensor, threshold: float = 0.0) -> Tensor:
        """``[K]`` bool: the components above the threshold, and what a network cannot be without.

        The same scores give the same subset. A higher threshold gives no larger one.
        """

    def fit(self, scores: Tensor, target: float) -> Tensor:
        """``[K]`` bool: the feasible subset by these scores that costs up to `target`."""

    def redraw(self, generator: torch.Generator) -> None:
        """Give the model fresh weights (CPU generator)."""


def by_group(values: Tensor, sizes: Mapping[str, int]) -> dict[str, Tensor]:
    """A vector ``[K]`` split into its groups."""
    return dict(zip(sizes, torch.split(values, list(sizes.values())), strict=True))


def mask_to_dict(mask: Tensor, sizes: Mapping[str, int]) -> dict[str, list[int]]:
    """A mask as JSON-able values: per group 1 for each component that is kept."""
    return {name: part.int().tolist() for name, part in by_group(mask, sizes).items()}


def mask_from_dict(value: Mapping[str, list[int]], sizes: Mapping[str, int]) -> Tensor:
    """Read what `mask_to_dict` wrote.

    Raises:
        ValueError: other groups, or other numbers of components.
    """
    if {name: len(part) for name, part in value.items()} != dict(sizes):
        raise ValueError(f"mask: groups {dict(sizes)} expected")
    return torch.tensor([bool(each) for name in sizes for each in value[name]])
