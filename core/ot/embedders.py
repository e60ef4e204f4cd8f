"""Named, versioned ways to turn images into features."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from core.ot.oriented_energy import OrientedEnergy

DEFAULT = OrientedEnergy.name
_RESNET18 = "resnet18"


class Embedder(Protocol):
    """Maps images to features. Distances compare only within one ``identifier``."""

    @property
    def name(self) -> str:
        """Stable name, as asked for."""
        ...

    @property
    def version(self) -> str:
        """Changes whenever the same image would get other features."""
        ...

    @property
    def dimension(self) -> int:
        """Feature dimensions D."""
        ...

    @property
    def identifier(self) -> str:
        """``name@version``."""
        ...

    def embed(self, images: Tensor, *, batch_size: int = 256) -> Tensor:
        """Features of images.

        Args:
            images: ``[N, C, H, W]`` uint8, C of 1 or 3, any H and W from 1.
            batch_size: Images per pass; bounds memory, does not change features.

        Returns:
            ``[N, D]`` float32 on the CPU.

        Raises:
            ValueError: If the images are of another type or shape.
        """
        ...


def available() -> tuple[str, ...]:
    """Names that :func:`create` knows, the default first."""
    return (DEFAULT, _RESNET18)


def create(
    identifier: str = DEFAULT, *, weights: Path | None = None, device: torch.device | str = "cpu"
) -> Embedder:
    """Make an embedder.

    Args:
        identifier: A name, or ``name@version`` to insist on a version.
        weights: Safetensors file, for embedders that are trained.
        device: Where to compute.

    Returns:
        The embedder, ready to use.

    Raises:
        ValueError: If the name is unknown, the version is another one, or weights are absent or
            unreadable.
    """
    name, _, version = identifier.partition("@")
    embedder: Embedder
    if name == DEFAULT:
        embedder = OrientedEnergy(device=device)
    elif name == _RESNET18:
        from core.ot.resnet_embedder import ResNet18  # torchvision is slow to import

        embedder = ResNet18(weights, device=device)
    else:
        raise ValueError(f"unknown embedder {name!r}; known are {', '.join(available())}")
    if version and version != embedder.version:
        raise ValueError(f"{identifier} is not available: this is {embedder.identifier}")
    return embedder
