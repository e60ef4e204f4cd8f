"""A source supernet for another space: another width, depth, stem, grey for colour.

What preserves the function, and what cannot:

* wider: exactly (`core.nas.widths`), in training and evaluation mode, for any mixture.
* narrower: exactly where only channels have to go that are alike, or that nothing consumes.
* deeper, shallower: every cell before the first that is new or left out computes what it did; the
  network as a whole does not. Alphas are shared by all cells and cells normalise what they read,
  so there is no cell that passes its input on.
* colour to grey: exactly, on grey images; grey to colour: exactly, on grey images seen as colour.
* stem of strides 1 and 2: the same tensors, on maps of another size; otherwise reductions of the
  stem are drawn anew or left out.

Heads and running statistics are fitted to the target by `core.nas.warm_start.begin` in any case.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from core.nas import widths
from core.nas.space import Space
from core.nas.supernet import Supernet
from core.nas.warm_start import Source, check

_FIXED = ("cells", "nodes", "stem_multiplier", "partial")


def adapt(
    source: Source, space: Space, *, generator: torch.Generator, noise: float = 0.0
) -> Source:
    """The source's tensors in the shapes of another space (see above for what is preserved).

    Depth: a target's reduction cell is the source's; the i-th normal cell of each of the three
    stages is the i-th of the source's stage, or its last where the source has fewer. A cell that
    now reads an input of another shape takes the weights of its other input if they fit, else
    fresh ones; where the source's stage has no normal cell, the cell is fresh.

    Args:
        source: Unchanged; its classifier, if there is one, is adapted with the rest.
        space: May differ in `channels`, `layers`, `input_channels` and `stem_stride`.
        generator: Draws what is fresh, and the noise (CPU).
        noise: See `core.nas.widths.with_channels`; for a wider net.

    Returns:
        A source of `space`, in the type and on the device of the source's tensors; the source
        itself if the spaces are equal.

    Raises:
        ValueError: a field of the space that cannot be adapted, a source that does not fit its
            own space, or noise that is negative or not finite.
    """
    if not (math.isfinite(noise) and noise >= 0):
        raise ValueError(f"noise: {noise} is not a finite number from 0")
    _refuse(source.space, space)
    if space == source.space:
        return source
    _check(source)
    state = source.state
    if space.layers != source.space.layers:
        state = _with_layers(source, space.layers, generator)
    if space.channels != source.space.channels:
        before = replace(source.space, layers=space.layers)
        state = widths.with_channels(
            state, before, space.channels, noise=noise, generator=generator
        )
    state = {**state, "stem": _with_input_channels(state["stem"], space.input_channels)}
    if space.stem_stride != source.space.stem_stride:
        state = _with_reductions(state, space, generator)
    return Source(space, state)


def _refuse(old: Space, new: Space) -> None:
    for field in _FIXED:
        own, wanted = getattr(old, field), getattr(new, field)
        if own != wanted:
            raise ValueError(
                f"space.{field}: {wanted!r} is not the source's {own!r}; only channels, layers, "
                "input_channels and stem_stride can be adapted"
            )
    if old.partial > 1 and old.channels != new.channels:
        raise ValueError(
            f"space.channels: {new.channels} is not the source's {old.channels}; with partial "
            "channels the width cannot be adapted, for nodes shuffle them"
        )
    if old.input_channels != new.input_channels and 1 not in (
        old.input_channels,
        new.input_channels,
    ):
        raise ValueError(
            f"space.input_channels: {old.input_channels} cannot become {new.input_channels}; "
            "one of the two must be 1"
        )


def _check(source: Source) -> None:
    check(Supernet(source.space, 1, torch.Generator()).state_dict(), source.state)
    head, features = source.state.get("classifier.weight"), source.space.feature_channels
    if head is not None and head.shape[-1] != features:
        raise ValueError(
            f"source: tensor 'classifier.weight' reads {head.shape[-1]} features, its space has "
            f"{features}"
        )


def _fresh(
    space: Space, state: Mapping[str, Tensor], generator: torch.Generator
) -> dict[str, Tensor]:
    """A new supernet's tensors but for the head, in the type and on the device of `state`."""
    drawn = Supernet(space, 1, generator).state_dict()
    like = state["stem"]
    return {
        name: value.to(like.device, like.dtype if value.is_floating_point() else None)
        for name, value in drawn.items()
        if not name.startswith("classifier.")
    }


def _with_layers(source: Source, layers: int, generator: torch.Generator) -> dict[str, Tensor]:
    space = replace(source.space, layers=layers)
    drawn = _fresh(space, source.state, generator)
    found = {name: value for name, value in source.state.items() if name[:6] != "cells."}
    for name, fresh in drawn.items():
        if name.startswith("cells."):
            origin = _origin(name, source, space, drawn)
            found[name] = fresh if origin is None else source.state[origin].clone()
    return found


def _origin(name: str, source: Source, space: Space, drawn: Mapping[str, Tensor]) -> str | None:
    """The source's name of what the tensor `name` of another depth takes; None: nothing."""
    _, index, *rest = name.split(".")
    layer, cell = int(index), _nearest(source.space, space, int(index))
    if cell is None:
        return None
    if rest[0] == "preprocess":
        own = int(rest[1])
        wanted = drawn[f"cells.{layer}.preprocess.{own}.weight"].shape, layer - 2 + own < 0
        for read in (own, 1 - own):
            weight = source.state[f"cells.{cell}.preprocess.{read}.weight"]
            if (weight.shape, cell - 2 + read < 0) == wanted:  # of the stem, or of a cell
                return ".".join(["cells", str(cell), "preprocess", str(read), *rest[2:]])
        return None
    return ".".join(["cells", str(cell), *rest])


def _nearest(old: Space, new: Space, layer: int) -> int | None:
    if layer in new.reduction_layers:
        return old.reduction_layers[new.reduction_layers.index(layer)]
    for before, after in zip(_stages(old), _stages(new), strict=True):
        if layer in after:
            return before[min(after.index(layer), len(before) - 1)] if before else None
    raise AssertionError(f"layer {layer} is in no stage")


def _stages(space: Space) -> tuple[range, range, range]:
    """The normal cells before, between and after the reductions."""
    first, second = space.reduction_layers
    return range(first), range(first + 1, second), range(second + 1, space.layers)


def _with_input_channels(stem: Tensor, channels: int) -> Tensor:
    if stem.shape[1] == channels:
        return stem
    if channels == 1:
        return stem.sum(dim=1, keepdim=True)
    return stem.repeat(1, channels, 1, 1) / channels


def _with_reductions(
    state: Mapping[str, Tensor], space: Space, generator: torch.Generator
) -> dict[str, Tensor]:
    """Of the stem's reductions as many as the space has: the first stay, the others are fresh."""
    drawn = _fresh(space, state, generator)
    return drawn | {
        name: value
        for name, value in state.items()
        if name in drawn or name.startswith("classifier.")
    }
