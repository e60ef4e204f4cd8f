"""The penultimate features of an ImageNet ResNet18 whose weights lie in a local file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn
from torchvision.models import resnet18

from core.ot.image_batches import resize, scaled_batches

_SIDE = 128  # as the supernet-transfer authors ran it; 224 costs three times as much
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


class ResNet18:
    """Torchvision's ResNet18 without its classifier (He et al. 2016).

    The version carries a digest of the weights: other weights are another embedder.
    """

    name = "resnet18"
    dimension = 512

    def __init__(self, weights: Path | None, *, device: torch.device | str = "cpu") -> None:
        """Load the weights.

        Args:
            weights: Safetensors file with torchvision's parameter names.
            device: Where to compute.

        Raises:
            ValueError: If the file is absent, not safetensors, or not a ResNet18.
        """
        if weights is None or not weights.is_file():
            raise ValueError(
                f"resnet18 needs its ImageNet weights as a safetensors file, none at {weights}"
            )
        content = weights.read_bytes()
        self.version = f"1-{hashlib.sha256(content).hexdigest()[:12]}"
        self._device = device
        self._trunk = _load_trunk(content).to(device)
        self._mean = torch.tensor(_MEAN, device=device).view(3, 1, 1)
        self._std = torch.tensor(_STD, device=device).view(3, 1, 1)

    @property
    def identifier(self) -> str:
        """``name@version``."""
        return f"{self.name}@{self.version}"

    @torch.no_grad()
    def embed(self, images: Tensor, *, batch_size: int = 256) -> Tensor:
        """``[N, 512]`` features of ``[N, C, H, W]`` uint8 images; grey is repeated over colours.

        Raises:
            ValueError: If the images are of another type or shape.
        """
        features = [torch.empty(0, self.dimension)]
        for batch in scaled_batches(images, batch_size, self._device):
            coloured = resize(batch, _SIDE).expand(-1, 3, -1, -1)
            features.append(self._trunk((coloured - self._mean) / self._std).cpu())
        return torch.cat(features)


def _load_trunk(content: bytes) -> nn.Module:
    network: nn.Module = resnet18(weights=None)
    network.fc = nn.Identity()
    try:
        state = load(content)
        trunk = {key: value for key, value in state.items() if not key.startswith("fc.")}
        network.load_state_dict(trunk)
    except (SafetensorError, RuntimeError) as error:
        raise ValueError("the weights are not a ResNet18 in safetensors format") from error
    return network.eval().requires_grad_(False)
