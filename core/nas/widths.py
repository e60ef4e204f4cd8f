"""Another width for a supernet: channels duplicated, or alike ones merged and the best kept.

Every mixed operation, stem and cell input of a supernet ends in a normalisation of each channel
by itself, so a duplicated channel normalises alike, and whoever reads it takes a share of the
weight from each copy: Net2WiderNet (Chen et al. 2016, arXiv 1511.05641, section 2.3) leaves the
function as it is. States that a skip connection may join keep their channels in one order, so a
cell has one choice of channels for all its states; without inputs of its own (NAS-Bench-201) a
whole run of cells has. A factorised reduction makes one half of its channels of even pixels and
one of odd: halves stay halves.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from core.nas.space import Space

# The part of a tensor's name that says where its channels run: the axis of those that it
# produces (or treats one by one), and of those that it consumes.
_PLACES: Mapping[str, tuple[int, int | None]] = {
    "stem": (0, None),
    "stem_norm": (0, None),
    "stem_reductions": (0, 1),
    "running_mean": (0, None),
    "running_var": (0, None),
    "preprocess": (-2, -1),
    "reduce": (-2, -1),
    "depthwise": (2, None),
    "pointwise": (2, 3),
    "convolutions": (2, 3),
    "first": (0, 1),
    "second": (0, 1),
    "shortcut": (0, 1),
}
_STEM = -1


@dataclass(frozen=True, slots=True)
class _Axis:
    """An axis over a group's channels, once or several times (node or edge major).

    A group is named by the first cell whose states have these channels, or `_STEM`.
    """

    dim: int
    group: int
    consumed: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Choice:
    """Where the W' channels of a group come from.

    Attributes:
        index: ``[W']``: the channel of the source whose producers each one takes.
        shares: ``[W, W']`` float64: how much of what consumed a channel of the source goes to
            each one.
    """

    index: Tensor
    shares: Tensor


@torch.no_grad()
def with_channels(
    state: Mapping[str, Tensor],
    space: Space,
    channels: int,
    *,
    noise: float,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """A supernet's tensors at another width.

    Wider, every channel is there at least once and its copies share what consumes it: the
    features are the source's, some of them several times, in training and in evaluation mode,
    for any mixture. Narrower, channels with equal producers are merged first, then those are
    kept that make up most of what consumes them (see `_importance`): the function stays where
    only channels have to go that are alike, or that nothing consumes.

    Args:
        state: Tensors of the source by name; a ``classifier.weight`` is adapted too.
        space: The source's, without partial channels.
        channels: The new width of the first cell.
        noise: Standard deviation of what is added to every weight of a wider net, in that of its
            tensor: copies stay alike under descent without it.
        generator: Draws the noise (CPU).
    """
    wider = replace(space, channels=channels)
    groups = {_group(space, layer) for layer in range(_STEM, space.layers)}
    choices = {
        group: _choice(state, space, group, _width(wider, group)) for group in sorted(groups)
    }
    found = {name: _resized(name, value, space, choices) for name, value in state.items()}
    if noise and channels > space.channels:
        for name, value in found.items():
            if value.ndim > 1 and _axes(name, space):
                drawn = torch.randn(value.shape, generator=generator).to(value)
                found[name] = value + noise * value.std() * drawn
    return found


def _group(space: Space, layer: int) -> int:
    if space.cell.inputs == 2 or layer < 0:
        return max(layer, _STEM)
    return max((at for at in space.reduction_layers if at <= layer), default=_STEM)


def _width(space: Space, group: int) -> int:
    if group == _STEM:
        return space.stem_channels
    return int(space.channels * 2 ** sum(at <= group for at in space.reduction_layers))


def _axes(name: str, space: Space) -> tuple[_Axis, ...]:
    parts = name.split(".")
    last = _group(space, space.layers - 1)
    if name == "classifier.weight":
        return (_Axis(1, last, consumed=True),)
    place = next((part for part in reversed(parts) if part in _PLACES), None)
    if place is None or parts[-1] == "num_batches_tracked":
        return ()
    layer = int(parts[1]) if parts[0] == "cells" else _STEM
    own = last if parts[0] == "last_norm" else _group(space, layer)
    produced, consumed = _PLACES[place]
    axis = _Axis(produced, own, consumed=False)
    if consumed is None:
        return (axis,)
    read = own
    if place == "preprocess":
        read = _group(space, layer - 2 + int(parts[3]))
    elif place in ("first", "shortcut"):
        read = _group(space, layer - 1)
    return axis, _Axis(consumed, read, consumed=True)


def _is_halved(name: str, tensor: Tensor) -> bool:
    return tensor.ndim == 4 and name.endswith((".reduce.weight", ".preprocess.0.weight"))


def _plain(name: str, tensor: Tensor) -> Tensor:
    """The tensor, a factorised reduction's ``[2, E, O/2, I]`` as ``[E, O, I]``."""
    return tensor.transpose(0, 1).flatten(1, 2) if _is_halved(name, tensor) else tensor


def _resized(name: str, tensor: Tensor, space: Space, choices: Mapping[int, _Choice]) -> Tensor:
    values = _plain(name, tensor)
    # What is consumed first: rows that are copied afterwards are equal to the bit.
    for axis in reversed(_axes(name, space)):
        choice, dim = choices[axis.group], axis.dim % values.ndim
        split = torch.unflatten(values, dim, (-1, len(choice.shares))).movedim(dim + 1, -1)
        if axis.consumed:
            split = split @ choice.shares.to(split)
        else:
            split = split[..., choice.index.to(split.device)]
        values = split.movedim(-1, dim + 1).flatten(dim, dim + 1)
    if _is_halved(name, tensor):
        values = torch.unflatten(values, 1, (2, -1)).transpose(0, 1)
    return values.contiguous()


def _choice(state: Mapping[str, Tensor], space: Space, group: int, wanted: int) -> _Choice:
    width = _width(space, group)
    alike = _alike(state, space, group, width)
    merging = F.one_hot(alike, width).double()
    importance = _importance(state, space, group, merging)
    kept = []
    for half in torch.split(alike, width // 2):
        candidates = torch.unique(half)
        if len(candidates) > wanted // 2:
            best = importance[candidates].argsort(descending=True, stable=True)
            kept.append(candidates[best[: wanted // 2]].sort().values)
        else:
            kept.append(candidates[torch.arange(wanted // 2) % len(candidates)])
    index = torch.cat(kept)
    copies = torch.bincount(index, minlength=width)
    return _Choice(index, merging[:, index] / copies[index])


def _alike(state: Mapping[str, Tensor], space: Space, group: int, width: int) -> Tensor:
    """``[W]``: the first channel of the same half with the same producers, to the bit."""
    looks = [(torch.arange(width) < width // 2).double()[:, None]]
    for _, values, dim in _along(state, space, group, consumed=False):
        split = torch.unflatten(values, dim, (-1, width)).movedim(dim + 1, 0)
        looks.append(split.reshape(width, -1))
    _, kind = torch.unique(torch.cat(looks, dim=1), dim=0, return_inverse=True)
    first = torch.full((width,), width).scatter_reduce(0, kind, torch.arange(width), "amin")
    return first[kind]


def _importance(state: Mapping[str, Tensor], space: Space, group: int, merging: Tensor) -> Tensor:
    """``[W]``: the share of each channel in everything that consumes it, summed.

    Channels are normalised when made and what consumes them is normalised again, so neither
    scale says anything. What counts is a channel's squared weight among all of a row: its part of
    the variance of what the row makes, were channels independent.
    """
    total = torch.zeros(len(merging), dtype=torch.float64)
    for name, values, dim in _along(state, space, group, consumed=True):
        if name.endswith(".pointwise"):
            # Channels reach it through kernels of their own, with no normalisation between.
            kernels = state[name.removesuffix("pointwise") + "depthwise"].double().cpu()
            values = values * kernels.flatten(3).norm(dim=3)[:, :, None]
        rows, taps = math.prod(values.shape[:dim]), math.prod(values.shape[dim + 1 :])
        split = values.reshape(rows, -1, len(merging), taps)
        squares = torch.einsum("rbwk,wv->rbvk", split, merging).square().sum(dim=(1, 3))
        total += (squares / squares.sum(dim=1, keepdim=True).clamp_min(1e-300)).sum(dim=0)
    return total


def _along(
    state: Mapping[str, Tensor], space: Space, group: int, *, consumed: bool
) -> Iterator[tuple[str, Tensor, int]]:
    """Tensors that produce (or consume) a group's channels: name, float64 values, the axis."""
    for name, tensor in state.items():
        for axis in _axes(name, space):
            if axis.group == group and axis.consumed == consumed:
                values = _plain(name, tensor).double().cpu()
                yield name, values, axis.dim % values.ndim
