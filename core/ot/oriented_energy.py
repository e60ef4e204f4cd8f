"""The offline default embedder: pooled gradient energy by scale and orientation, no weights.

In the line of oriented-energy descriptors (Lowe 2004; Dalal & Triggs 2005) and first-order
scattering (Bruna & Mallat 2013): modulus of oriented derivatives at several scales, averaged over
a coarse grid. Squared derivatives do not see polarity; framing and the common band limit make an
8 x 8 scan of a digit and a 28 x 28 one comparable.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from core.ot.image_batches import resize, scaled_batches

_SIDE = 32
_BAND_LIMIT = 12  # detail finer than this many pixels a side is dropped: small images lack it
_SCALES = (1.0, 2.0, 4.0)
_ORIENTATIONS = 4
_GRID = 3
_LUMA = (0.299, 0.587, 0.114)
# Framing: content of this spread (of 32) fills the frame; never enlarged by more than 1 / 0.7.
_SPREAD = 8.0
_LEAST_ZOOM = 0.7
_CONTRAST_FLOOR = 0.02  # below this deviation (of 1) an image counts as flat
_ENERGY_FLOOR = 0.05


class OrientedEnergy:
    """Analytic features: 108 energies, 3 of the histogram's shape, 4 of colour.

    The same image gives the same features on every machine, up to float32 rounding.
    """

    name = "oriented-energy"
    version = "1"
    dimension = len(_SCALES) * _ORIENTATIONS * _GRID**2 + 3 + 4

    def __init__(self, *, device: torch.device | str = "cpu") -> None:
        """Compute on ``device``."""
        self._device = device

    @property
    def identifier(self) -> str:
        """``name@version``."""
        return f"{self.name}@{self.version}"

    @torch.no_grad()
    def embed(self, images: Tensor, *, batch_size: int = 256) -> Tensor:
        """``[N, D]`` features of ``[N, C, H, W]`` uint8 images, all of order one.

        Raises:
            ValueError: If the images are of another type or shape.
        """
        features = [torch.empty(0, self.dimension)]
        for batch in scaled_batches(images, batch_size, self._device):
            small = resize(batch, _SIDE)
            grey = resize(resize(_frame(_grey(small)), _BAND_LIMIT), _SIDE)
            grey = _normalise_contrast(grey)
            parts = (_energies(grey), _histogram_shape(grey), _colour(small))
            features.append(torch.cat(parts, dim=1).cpu())
        return torch.cat(features)


def _grey(images_NCHW: Tensor) -> Tensor:
    if images_NCHW.shape[1] == 1:
        return images_NCHW
    luma = images_NCHW.new_tensor(_LUMA).view(1, 3, 1, 1)
    return (images_NCHW * luma).sum(1, keepdim=True)


def _frame(grey_N1HW: Tensor) -> Tensor:
    """Centre and enlarge each image by the first two moments of its gradient energy.

    A digit in a wide margin and one that fills its frame then look alike; photographs, whose
    energy is spread evenly, stay as they are.
    """
    energy_NHW = _oriented_energy(grey_N1HW, 1.0, orientations=2).sum(1)
    total_N = energy_NHW.sum((1, 2))
    weights_NHW = energy_NHW / total_N.clamp_min(1e-6).view(-1, 1, 1)
    offset = torch.arange(_SIDE, device=grey_N1HW.device) + 0.5 - _SIDE / 2
    columns, rows = weights_NHW.sum(1), weights_NHW.sum(2)
    x, y = (columns * offset).sum(1), (rows * offset).sum(1)
    variance = (columns * offset**2).sum(1) - x**2 + (rows * offset**2).sum(1) - y**2
    zoom = ((variance / 2).clamp_min(0.25).sqrt() / _SPREAD).clamp(_LEAST_ZOOM, 1.0)
    zoom = torch.where(total_N > 1e-6, zoom, torch.ones_like(zoom))
    maps = grey_N1HW.new_zeros(len(grey_N1HW), 2, 3)
    maps[:, 0, 0] = maps[:, 1, 1] = zoom
    maps[:, 0, 2], maps[:, 1, 2] = 2 * x / _SIDE, 2 * y / _SIDE
    grid = F.affine_grid(maps, list(grey_N1HW.shape), align_corners=False)
    framed: Tensor = F.grid_sample(grey_N1HW, grid, padding_mode="border", align_corners=False)
    return framed


def _normalise_contrast(grey_N1HW: Tensor) -> Tensor:
    variance, mean = torch.var_mean(grey_N1HW, (1, 2, 3), correction=0, keepdim=True)
    return (grey_N1HW - mean) / (variance + _CONTRAST_FLOOR**2).sqrt()


def _energies(grey_N1HW: Tensor) -> Tensor:
    """Energies over scales, orientations and grid cells, as a vector of unit length.

    The root makes Euclidean distance a Hellinger distance between energy distributions.
    """
    pooled = [
        F.adaptive_avg_pool2d(
            _oriented_energy(grey_N1HW, scale, orientations=_ORIENTATIONS), _GRID
        )
        for scale in _SCALES
    ]
    roots: Tensor = torch.cat(pooled, 1).flatten(1).sqrt()
    lengths: Tensor = torch.linalg.vector_norm(roots, dim=1, keepdim=True)
    return roots / (lengths + _ENERGY_FLOOR)


def _oriented_energy(grey_N1HW: Tensor, scale: float, *, orientations: int) -> Tensor:
    """``[N, K, H, W]`` squared Gaussian derivatives, steered to K orientations, scale-free."""
    smooth = _blur(grey_N1HW, scale)
    across = F.pad(smooth, (1, 1, 0, 0), mode="replicate")
    down = F.pad(smooth, (0, 0, 1, 1), mode="replicate")
    gradient_x = (across[..., 2:] - across[..., :-2]) / 2
    gradient_y = (down[..., 2:, :] - down[..., :-2, :]) / 2
    angles = [math.pi * step / orientations for step in range(orientations)]
    steered = [gradient_x * math.cos(angle) + gradient_y * math.sin(angle) for angle in angles]
    return (scale * torch.cat(steered, 1)).square()


def _blur(grey_N1HW: Tensor, scale: float) -> Tensor:
    reach = math.ceil(3 * scale)
    offsets = torch.arange(-reach, reach + 1, device=grey_N1HW.device)
    kernel = torch.exp(-(offsets**2) / (2 * scale**2))
    kernel = kernel / kernel.sum()
    padded = F.pad(grey_N1HW, (reach, reach, reach, reach), mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))


def _histogram_shape(grey_N1HW: Tensor) -> Tensor:
    """``[N, 3]``: asymmetry, mean deviation and tails, each a root of its moment."""
    values = grey_N1HW.flatten(1)
    # The floor keeps rounding of a symmetric histogram from being blown up by the root.
    skewness = (values.pow(3).mean(1).square() + 1e-6).pow(1 / 6)
    tails = values.pow(4).mean(1).clamp_max(50).pow(1 / 4)
    return torch.stack([skewness, values.abs().mean(1), tails], 1) / math.sqrt(3)


def _colour(images_NCHW: Tensor) -> Tensor:
    """``[N, 4]``: strength and variation of the two opponent colours; zero for grey images."""
    if images_NCHW.shape[1] == 1:
        return images_NCHW.new_zeros(len(images_NCHW), 4)
    red, green, blue = images_NCHW.unbind(1)
    opponents = torch.stack([red - green, (red + green) / 2 - blue], 1).flatten(2)
    return torch.cat([opponents.abs().mean(2), opponents.std(2, correction=0)], 1)
