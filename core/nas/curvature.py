"""The largest eigenvalue of a Hessian, by differences of gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from core.nas.loop import gradients


def largest_eigenvalue(
    loss: Callable[[], Tensor],
    parameters: Sequence[nn.Parameter],
    generator: torch.Generator,
    *,
    iterations: int = 12,
    tolerance: float = 1e-2,
    step: float = 0.1,
) -> float:
    """The largest eigenvalue of a Hessian, by Lanczos' iteration.

    It is the power iteration that forgets no step: the largest eigenvalue of the Hessian seen
    from all vectors so far (Golub & Van Loan 2013, section 10.1). The power iteration itself
    does not settle where the most negative eigenvalue is nearly as large, which is how a search
    begins.

    Products with the Hessian are central differences of gradients, so an iteration costs two
    backward passes to the parameters and no graph of a graph. A network of ReLUs has kinks
    between which its curvature is another than that of the landscape: the step decides which is
    measured, and small ones meet single kinks, by chance.

    Args:
        loss: Computes the scalar anew at the parameters' present values.
        parameters: P values in all; moved in place meanwhile, and put back to the bit.
        generator: Draws the direction to begin with (CPU).
        iterations: Most of them.
        tolerance: Relative change between two iterations that is small enough.
        step: Of the differences, along a unit vector.

    Returns:
        The eigenvalue; not a number where a gradient is not finite.
    """
    start = [parameter.detach().clone() for parameter in parameters]
    drawn = torch.randn(sum(p.numel() for p in parameters), generator=generator).to(start[0])
    basis, images = [drawn / drawn.norm()], list[Tensor]()
    value = math.nan
    try:
        while len(images) < min(iterations, len(drawn)):
            images.append(_product(loss, parameters, start, step * basis[-1]) / step)
            if not bool(images[-1].isfinite().all()):
                return math.nan
            seen = torch.stack(basis) @ torch.stack(images).T
            last, value = value, torch.linalg.eigvalsh((seen + seen.T) / 2)[-1].item()
            rest = images[-1]
            for _ in range(2):  # twice is enough for orthogonality in this precision
                rest = rest - (torch.stack(basis) @ rest) @ torch.stack(basis)
            if abs(value - last) <= tolerance * abs(value) or not bool(rest.norm() > 0):
                break
            basis.append(rest / rest.norm())
    finally:
        _place(parameters, start)
    return value


def flat(parameters: Sequence[nn.Parameter]) -> Tensor:
    """The values of all parameters one after the other: ``[P]``."""
    return torch.cat([parameter.detach().flatten() for parameter in parameters])


def unflat(values: Tensor, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """What `flat` joined, in the parameters' shapes."""
    parts = torch.split(values, [parameter.numel() for parameter in parameters])
    return [part.view_as(p) for part, p in zip(parts, parameters, strict=True)]


def _product(
    loss: Callable[[], Tensor],
    parameters: Sequence[nn.Parameter],
    start: list[Tensor],
    move: Tensor,
) -> Tensor:
    moves = unflat(move, parameters)
    slopes = []
    for sign in (1, -1):
        _place(parameters, torch._foreach_add(start, moves, alpha=sign))
        found = gradients(loss(), parameters)
        filled = [
            torch.zeros_like(p, requires_grad=False) if slope is None else slope
            for slope, p in zip(found, parameters, strict=True)
        ]
        slopes.append(torch.cat([slope.flatten() for slope in filled]))
    return (slopes[0] - slopes[1]) / 2


@torch.no_grad()
def _place(parameters: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value)
