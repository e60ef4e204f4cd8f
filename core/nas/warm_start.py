"""What a search begins with: a fresh supernet, or one that carries a source's knowledge."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from core.nas.derive import mean_entropy
from core.nas.head import fit_head
from core.nas.images import LabelledImages
from core.nas.normalisation import reestimate
from core.nas.space import Space
from core.nas.supernet import Supernet

Head = Literal["closed_form", "random"]

# Below this share of log(operations) the softmax has nearly decided and its gradient is gone.
_HEALTHY_ENTROPY = 0.7


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A pretrained supernet: its space and `Supernet.state_dict()` (the classifier is ignored)."""

    space: Space
    state: dict[str, Tensor]


def begin(
    origin: Space | Source,
    classes: int,
    train: LabelledImages,
    valid: LabelledImages,
    *,
    head: Head,
    generator: torch.Generator,
    batch_size: int,
    alpha_retention: float = 1.0,
) -> Supernet:
    """A supernet ready for its first step on the target: one road for cold and warm starts.

    Weights and alphas come from the source if there is one; alphas are shrunk toward their row
    means until their entropy leaves room to move. A closed-form head needs running statistics,
    which are re-estimated on the target's training half; where nothing is solved, they are the
    source's until the search estimates them.

    Args:
        origin: A space (cold) or a source (warm).
        classes: Classes of the target.
        train: Training half; decides the device.
        valid: Validation half; chooses ridge and temperature of the head.
        head: ``closed_form`` solves it by ridge regression, ``random`` leaves the fresh one.
        generator: Draws every weight that is not the source's (CPU).
        batch_size: Images per forward pass.
        alpha_retention: Largest share of the source's centred alphas to keep, in 0..1.

    Returns:
        A supernet in training mode on the device of `train`.

    Raises:
        ValueError: a source that does not fit its space (the tensor is named), images with
            another number of channels, or a setting out of range.
    """
    if head not in ("closed_form", "random"):
        raise ValueError(f"head: {head!r} is neither 'closed_form' nor 'random'")
    if not 0 <= alpha_retention <= 1:
        raise ValueError(f"alpha_retention: {alpha_retention} is not in 0..1")
    space = origin.space if isinstance(origin, Source) else origin
    if train.images.shape[1] != space.input_channels:
        raise ValueError(
            f"images: {train.images.shape[1]} channels, the space has {space.input_channels}"
        )
    supernet = Supernet(space, classes, generator)
    if isinstance(origin, Source):
        load(supernet, origin.state)
        for alphas in supernet.alphas().values():
            alphas.data = soften(alphas.data, alpha_retention)
    supernet.to(train.images.device)
    if head == "closed_form":
        reestimate(supernet, train.batches(batch_size, generator))
        fit_head(supernet, train, valid, batch_size=batch_size)
    return supernet


def soften(alphas: Tensor, retention: float) -> Tensor:
    """Centre rows and shrink them until their mean entropy is healthy.

    Args:
        alphas: ``[edges, O]``.
        retention: Share kept at most; 0 forgets the source's architecture.

    Returns:
        ``retention' * (alphas - row mean)`` with the first of retention, 0.9 retention, ... whose
        mean row entropy is at least 0.7 log O.
    """
    centred = alphas - alphas.mean(dim=-1, keepdim=True)
    enough = _HEALTHY_ENTROPY * math.log(alphas.shape[-1])
    while mean_entropy(retention * centred) < enough:
        retention *= 0.9
    return retention * centred


def check(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """Refuse a source's tensors that do not fit a supernet of its space; heads are ignored.

    Args:
        own: The tensors of such a supernet by name.
        state: Those of the source.

    Raises:
        ValueError: a tensor that is missing, unknown, of another shape or not finite.
    """
    names = {name for name in own if not name.startswith("classifier.")}
    given = {name for name in state if not name.startswith("classifier.")}
    if names != given:
        kind = "missing" if names - given else "unknown"
        raise ValueError(f"source: {kind} tensor {min(names ^ given)!r}")
    for name in sorted(names):
        if state[name].shape != own[name].shape:
            raise ValueError(
                f"source: tensor {name!r} is {list(state[name].shape)}, "
                f"its space needs {list(own[name].shape)}"
            )
        if state[name].is_floating_point() and not bool(state[name].isfinite().all()):
            raise ValueError(f"source: tensor {name!r} is not finite")


def load(supernet: Supernet, state: Mapping[str, Tensor]) -> None:
    """Give a supernet a source's weights, alphas and statistics; its head stays.

    Args:
        supernet: In place.
        state: The source's tensors by name; a classifier's are ignored.

    Raises:
        ValueError: as `check`.
    """
    check(supernet.state_dict(), state)
    trunk = {name: each for name, each in state.items() if not name.startswith("classifier.")}
    supernet.load_state_dict(trunk, strict=False)
