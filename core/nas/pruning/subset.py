"""Complexity-penalised subset selection: which components of a network are worth what they cost.

Minimises ``E loss(masked network) + gamma * cost(masks)`` over masks in 0..1 by the gradient of
`core.nas.pruning.relaxation`. Our reconstruction of the setting of Colombo & Gao 2021 (arXiv
2107.03375), whose own estimator and theorem are not claimed here; see docs/methods.md.

The unit of gamma is nats per whole network: a component that is a share s of the cost stays if
leaving it out costs more than ``gamma * s`` nats of validation loss per image. Losses differ by
task, and so does the size that one gamma gives; who wants a size gives a target.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from core.nas.images import LabelledImages, epoch_generator
from core.nas.loop import Epoch, Step, gradients, run_epochs
from core.nas.precision import autocast, widened
from core.nas.pruning import relaxation
from core.nas.pruning.components import Components
from core.nas.pruning.subset_config import SubsetConfig
from core.nas.pruning.subset_state import SubsetState
from core.nas.search import endless

_NOISE, _WEIGHTS = 27, 28  # streams of `epoch_generator`
_BISECTIONS = 24


@dataclass(frozen=True, slots=True)
class _At:
    """How far a search is: the warm temperature, and the share of the epochs after the rest."""

    warm: float
    progress: float


@dataclass(frozen=True, slots=True)
class SubsetRecord:
    """What one epoch of a search for a subset did; epoch 0 is the start, before any step.

    Args:
        epoch: Completed epochs.
        train_loss: Of the weights' steps, under the masks of each.
        train_accuracy: Likewise, in 0..1.
        valid_loss: With the present masks, not yet projected. Scores were fitted to these images.
        valid_accuracy: Likewise.
        cost: Of these masks, as a share of the whole network's.
        kept: Cost of the subset that the scores stand for, as a share.
        gamma: In nats: as set, or the multiplier of the target.
        warm: Temperature of the slope in this epoch.
        theta: ``[K]``.
        mask: ``[K]``: the subset.
        seconds: Wall clock, measuring included.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    valid_loss: float
    valid_accuracy: float
    cost: float
    kept: float
    gamma: float
    warm: float
    theta: tuple[float, ...]
    mask: tuple[bool, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Subset:
    """The result of a search: which components stay.

    Args:
        mask: ``[K]`` bool.
        cost: As a share of the whole network's.
        history: One record per epoch, the start first: scores, costs and prices.
    """

    mask: Tensor
    cost: float
    history: tuple[SubsetRecord, ...]


def run(
    state: SubsetState,
    train: LabelledImages,
    valid: LabelledImages,
    config: SubsetConfig,
    *,
    measured: bool = False,
) -> Iterator[SubsetRecord]:
    """Alternate steps of the scores on `valid` with steps of the weights on `train`.

    Args:
        state: Advanced in place; `state.tensors()` between two records is a checkpoint.
        train: Training half.
        valid: Validation half, on the same device.
        config: Settings; the same for a resumed run.
        measured: Whether the state is one that this has yielded before.

    Yields:
        One record per epoch, and first one for a start that was not measured before.

    Raises:
        Diverged: a loss is not finite.
    """
    _rested(state, config, config.temperature(max(0, state.epoch - 1)))
    for epoch in run_epochs(
        state,
        train,
        valid,
        config,
        prepare=lambda epoch: _step(state, train, valid, config, epoch),
        measured=measured,
    ):
        warm = config.temperature(max(0, epoch.index - 1))
        cost = _rested(state, config, warm)
        yield _record(epoch, state, config, warm, cost)


def search(
    components: Components,
    train: LabelledImages,
    valid: LabelledImages,
    config: SubsetConfig,
    *,
    heard: Callable[[SubsetRecord], None] = lambda _record: None,
) -> Subset:
    """The subset that a whole search finds.

    Args:
        components: Their model is trained in place.
        train: Training half.
        valid: Validation half, on the same device.
        config: Settings.
        heard: Called with every epoch's record; what it raises ends the search.

    Raises:
        Diverged: a loss is not finite.
    """
    state, history = SubsetState(components, config), list[SubsetRecord]()
    for record in run(state, train, valid, config):
        history.append(record)
        heard(record)
    return Subset(torch.tensor(history[-1].mask), history[-1].kept, tuple(history))


def _step(
    state: SubsetState,
    train: LabelledImages,
    valid: LabelledImages,
    config: SubsetConfig,
    epoch: int,
) -> Step:
    scores, components, warm = state.scores, state.components, config.temperature(epoch)
    relaxation.clip(scores.theta, warm)
    batches = endless(valid, config, epoch)
    drawing = epoch_generator(config.seed, epoch, _NOISE)
    steps = math.ceil(len(train) / config.batch_size)
    done = epoch * steps

    def drawn() -> Tensor:
        noise = relaxation.logistic(len(scores.theta), drawing) if config.noise else None
        noise = None if noise is None else noise.to(scores.theta)
        return relaxation.masks(scores.theta, cold=config.cold, warm=warm, noise=noise)

    def before(_images: Tensor, _labels: Tensor) -> None:
        nonlocal done
        if config.resample_steps and done and done % config.resample_steps == 0:
            components.redraw(epoch_generator(config.seed, done, _WEIGHTS))
            for moment in state.descent.moments().values():
                torch._foreach_zero_(list(moment))
        if epoch >= config.resting:
            progress = (done / steps - config.resting) / max(1, config.epochs - config.resting)
            _learn(state, next(batches), config, drawn(), _At(warm, progress))
        components.put(drawn().detach())
        done += 1

    def after() -> None:
        _rested(state, config, warm)

    return Step(before=before, after=after)


def _learn(
    state: SubsetState, batch: tuple[Tensor, Tensor], config: SubsetConfig, masks: Tensor, at: _At
) -> None:
    """One step of the scores: of loss and price, or of the loss and back to the wanted cost."""
    scores, components, (images, labels) = state.scores, state.components, batch
    components.put(masks)
    with autocast(config.precision, images.device):
        loss = F.cross_entropy(widened(state.model(images)), labels)
    (found,) = gradients(loss, [scores.theta])
    assert found is not None
    present = relaxation.masks(scores.theta, cold=config.cold, warm=at.warm)
    (slope,) = torch.autograd.grad(components.cost(present), [scores.theta])
    if config.target is not None:
        scores.multiplied(found, slope)
    state.scaled.step(found + float(scores.gamma) * slope, config.theta_rate * at.warm)
    if config.target is not None:
        _restore(state, config, at)
    relaxation.clip(scores.theta, at.warm)


@torch.no_grad()
def _restore(state: SubsetState, config: SubsetConfig, at: _At) -> None:
    """Move all scores by the same, in place, to where the cost is the wanted one."""
    theta, wanted = state.scores.theta, config.wanted(at.progress)

    def above(shift: float) -> bool:
        masks = relaxation.masks(theta - shift, cold=config.cold, warm=at.warm)
        return float(state.components.cost(masks)) > wanted

    high = 2 * relaxation.CLIP * at.warm
    low = -high
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if above(middle) else (low, middle)
    theta.sub_(high)


@torch.no_grad()
def _rested(state: SubsetState, config: SubsetConfig, warm: float) -> float:
    """Put the masks without noise into force; their cost."""
    masks = relaxation.masks(state.scores.theta, cold=config.cold, warm=warm)
    state.components.put(masks)
    return float(state.components.cost(masks))


def _record(
    epoch: Epoch, state: SubsetState, config: SubsetConfig, warm: float, cost: float
) -> SubsetRecord:
    mask = state.mask(config)
    return SubsetRecord(
        epoch=epoch.index,
        train_loss=epoch.train.loss,
        train_accuracy=epoch.train.accuracy,
        valid_loss=epoch.valid.loss,
        valid_accuracy=epoch.valid.accuracy,
        cost=cost,
        kept=float(state.components.cost(mask)),
        gamma=float(state.scores.gamma),
        warm=warm,
        theta=tuple(state.scores.theta.tolist()),
        mask=tuple(mask.tolist()),
        seconds=epoch.seconds,
    )
