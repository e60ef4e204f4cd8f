"""Residual blocks that a network can do without: those whose shortcut is the identity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from core.nas.pruning.backbone import evaluating


@dataclass(frozen=True, slots=True)
class Block:
    """A residual block with an identity for a shortcut.

    Args:
        name: Of the module.
        norm: The branch's last batch normalisation: without its output the branch adds nothing.
        rectified: Whether what is left of the block is a ReLU, or its input as it is.
    """

    name: str
    norm: str
    rectified: bool

    def remains(self) -> nn.Module:
        """What stands in the block's place once its branch is gone."""
        return nn.ReLU() if self.rectified else nn.Identity()


@torch.no_grad()
def identity_blocks(model: nn.Module, images: Tensor) -> tuple[Block, ...]:
    """The innermost modules that return what they read once their last norm is silent.

    Tried out rather than read off their classes: any network whose blocks do so has them.

    Args:
        model: Run in evaluation mode; its mode is restored.
        images: ``[1, C, H, W]``.
    """
    found: list[Block] = []
    with evaluating(model):
        for name, shape, norm in _candidates(model, images):
            if any(block.name.startswith(f"{name}.") for block in found):
                continue
            block = _tried(model, name, shape, norm)
            if block is not None:
                found.append(block)
    order = {name: at for at, (name, _) in enumerate(model.named_modules())}
    return tuple(sorted(found, key=lambda block: order[block.name]))


def _candidates(model: nn.Module, images: Tensor) -> list[tuple[str, torch.Size, str]]:
    """Modules that keep the shape of one map, deepest first, with the norm that ran last."""
    shapes: dict[str, tuple[torch.Size, torch.Size]] = {}
    norms: list[str] = []

    def watched(name: str, module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def look(_module: nn.Module, inputs: Sequence[object], output: object) -> None:
            if isinstance(module, nn.BatchNorm2d):
                norms.append(name)
            first = inputs[0] if len(inputs) == 1 else None
            if isinstance(first, Tensor) and isinstance(output, Tensor):
                shapes[name] = first.shape, output.shape

        return module.register_forward_hook(look)

    handles = [watched(name, module) for name, module in model.named_modules() if name]
    model(images)
    for handle in handles:
        handle.remove()
    found: list[tuple[str, torch.Size, str]] = []
    for name, (before, after) in sorted(shapes.items(), key=lambda item: -item[0].count(".")):
        inside = [norm for norm in norms if norm.startswith(f"{name}.")]
        if inside and before == after and len(before) == 4:
            found.append((name, before, inside[-1]))
    return found


def _tried(model: nn.Module, name: str, shape: torch.Size, norm: str) -> Block | None:
    module = model.get_submodule(name)
    weight = next(model.parameters())
    maps = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(weight)
    handle = model.get_submodule(norm).register_forward_hook(lambda _m, _i, out: 0 * out)
    # Copies: a block may rectify in place.
    answer = module(maps.clone())
    handle.remove()
    for rectified, expected in ((False, maps), (True, maps.relu())):
        if torch.equal(answer, expected):
            return Block(name, norm, rectified)
    return None
