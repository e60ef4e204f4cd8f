"""A network of torchvision, with fresh weights or with those that a user brought."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torchvision import models

from core.domain.prunings import Architecture
from core.errors import InvalidInput
from core.nas.pruning.backbone import Backbone, redraw

_TOLD = 3  # names in a refusal
_PARTS = 1 << 24  # numbers of a tensor that are looked at together


def build(
    architecture: Architecture, classes: int, generator: torch.Generator, weights: Path | None
) -> Backbone:
    """The network with a fresh classifier of so many classes, on the CPU.

    Args:
        architecture: As torchvision builds it.
        classes: K.
        generator: Draws all that is fresh (CPU).
        weights: A safetensors file with the state of the whole architecture, whatever classes it
            tells apart; None for fresh weights.

    Raises:
        InvalidInput: `bad_weights`, saying what in the file is not the architecture's.
    """
    if weights is None:
        model = Backbone(models.get_model(architecture, weights=None), classes, generator)
        redraw(model, generator)
        return model
    try:
        body = _loaded(architecture, weights)
    except (SafetensorError, json.JSONDecodeError) as error:
        raise _refused("it is no whole safetensors file") from error
    return Backbone(body, classes, generator)


def carry(model: Backbone, weights: Path) -> None:
    """Give a network, in place, what another of its shape has learned, but for the classifier.

    Raises InvalidInput: `bad_weights`.
    """
    own = {name: tensor for name, tensor in model.state_dict().items() if not _is_head(name)}
    with safe_open(weights, framework="pt") as file:
        found = {name for name in file.keys() if not _is_head(name)}  # noqa: SIM118
        if found != set(own):
            raise _refused("they are of another network")
        for name, tensor in own.items():
            given = file.get_tensor(name)
            if given.shape != tensor.shape:
                raise _refused(f"'{name}' has the shape {list(given.shape)}")
            tensor.copy_(given)


def _is_head(name: str) -> bool:
    return name.startswith("classifier.")


def _loaded(architecture: Architecture, weights: Path) -> nn.Module:
    with safe_open(weights, framework="pt") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        body = _body(architecture, shapes)
        _check(architecture, {n: tuple(t.shape) for n, t in body.state_dict().items()}, shapes)
        own = body.state_dict()
        for name, tensor in own.items():
            tensor.copy_(_numbers(name, file.get_tensor(name), tensor))
    return body


def _body(architecture: Architecture, shapes: Mapping[str, tuple[int, ...]]) -> nn.Module:
    """With as many classes as the file's own head has, where it has one."""
    with torch.device("meta"):
        layers = models.get_model(architecture, weights=None).named_modules()
    head = [name for name, module in layers if isinstance(module, nn.Linear)][-1]
    told = shapes.get(f"{head}.weight", ())
    classes = told[0] if len(told) == 2 and told[0] else 1
    body: nn.Module = models.get_model(architecture, weights=None, num_classes=classes)
    return body


def _check(
    architecture: Architecture,
    wanted: Mapping[str, tuple[int, ...]],
    found: Mapping[str, tuple[int, ...]],
) -> None:
    missing, unknown = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    if missing or unknown:
        which = [_named("lacks", missing)] if missing else []
        which += [_named("has besides", unknown)] if unknown else []
        raise _refused(f"of {architecture} it {' and '.join(which)}")
    for name, shape in wanted.items():
        if found[name] != shape:
            raise _refused(
                f"'{name}' has the shape {list(found[name])}, in {architecture} {list(shape)}"
            )


def _numbers(name: str, given: Tensor, wanted: Tensor) -> Tensor:
    if given.is_floating_point() != wanted.is_floating_point():
        raise _refused(f"'{name}' holds {given.dtype}, not {wanted.dtype}")
    flat = given.flatten()
    for part in torch.split(flat, _PARTS):
        if not math.isfinite(float(part.double().sum())):
            raise _refused(f"'{name}' holds numbers that are not finite")
    return given.to(wanted.dtype)


def _named(words: str, names: list[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:_TOLD])
    more = len(names) - _TOLD
    return f"{words} {shown}" + (f" and {more} more" if more > 0 else "")


def _refused(what: str) -> InvalidInput:
    return InvalidInput(f"The weights cannot be taken: {what}.", code="bad_weights")
