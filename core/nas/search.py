"""The bilevel search (Liu et al. 2019, algorithm 1, first order): pure over a resumable state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import torch.nn.functional as F
from torch import Tensor

from core.nas.derive import derive, mean_entropy
from core.nas.images import LabelledImages, epoch_generator
from core.nas.loop import (
    VALID,
    Diverged,
    Epoch,
    Step,
    TrainingConfig,
    TrainingState,
    check_limits,
    gradients,
    run_epochs,
)
from core.nas.optimisers import Adam, Optimiser
from core.nas.supernet import Supernet

__all__ = ["Diverged", "EpochRecord", "SearchConfig", "SearchState", "run"]

_ALPHA_LIMITS = {"alpha_learning_rate": (0.0, 10.0), "alpha_weight_decay": (0.0, 1.0)}


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchConfig(TrainingConfig):
    """Settings of a bilevel search; those of the weights are `TrainingConfig`'s.

    Args:
        alpha_learning_rate: Of Adam on the architecture parameters.
        alpha_weight_decay: On the architecture parameters.

    Raises:
        ValueError: a value that is not finite or out of range.
    """

    alpha_learning_rate: float = 3e-4
    alpha_weight_decay: float = 1e-3

    def __post_init__(self) -> None:
        # The zero-argument super() does not survive slots=True.
        TrainingConfig.__post_init__(self)
        check_limits(self, _ALPHA_LIMITS)


class SearchState(TrainingState):
    """A supernet, the optimisers of its weights and alphas, and the completed epochs.

    Args:
        supernet: Trained in place.
    """

    def __init__(self, supernet: Supernet) -> None:
        super().__init__(supernet, supernet.weight_parameters())
        self.supernet = supernet
        self.adam = Adam(supernet.alpha_parameters())

    def optimisers(self) -> dict[str, Optimiser]:
        """The optimisers by the name under which their tensors are kept."""
        return {"descent": self.descent, "adam": self.adam}


Alphas = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """What one epoch of a search did; epoch 0 is the start, measured before any step.

    Args:
        epoch: Completed epochs.
        train_loss: Mean over the epoch's (augmented) batches; at epoch 0 of a plain sample.
        train_accuracy: Likewise, in 0..1.
        valid_loss: On the whole validation half, with re-estimated statistics.
        valid_accuracy: Likewise, in 0..1. The alphas were fitted to these images.
        learning_rate: Of the weights in this epoch.
        entropy_normal: Mean entropy in nats of the normal cell's mixtures, at most the logarithm
            of the number of operations.
        entropy_reduction: Likewise of the reduction cell's; None where none is searched.
        skip_count: Skip connections in the normal cell if derived now.
        alphas_normal: Softmaxed, ``[edges][operations]``, rounded to 4 digits.
        alphas_reduction: Likewise; empty where no reduction cell is searched.
        seconds: Wall clock of the whole epoch, evaluation included.
        steps: Weight steps (as many architecture steps).
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    valid_loss: float
    valid_accuracy: float
    learning_rate: float
    entropy_normal: float
    entropy_reduction: float | None
    skip_count: int
    alphas_normal: Alphas
    alphas_reduction: Alphas
    seconds: float
    steps: int


def run(
    state: SearchState, train: LabelledImages, valid: LabelledImages, config: SearchConfig
) -> Iterator[EpochRecord]:
    """Alternate architecture steps on `valid` with weight steps on `train`.

    First order: the architecture's gradient is taken at the current weights (xi = 0 in
    equation 6) and backpropagated to the alphas only.

    Args:
        state: Advanced in place; `state.tensors()` between two records is a checkpoint.
        train: Training half.
        valid: Validation half, on the same device.
        config: Settings; the same for a resumed run.

    Yields:
        One record per epoch, and first one for the start (again if it was saved as the start).

    Raises:
        Diverged: a loss is not finite.
    """

    def prepare(epoch: int) -> Step:
        batches = _endless(valid, config, epoch)
        return Step(before=lambda *_: _architecture_step(state, *next(batches), config))

    for epoch in run_epochs(state, train, valid, config, prepare=prepare):
        yield _record(epoch, state.supernet)


def _architecture_step(
    state: SearchState, images: Tensor, labels: Tensor, config: SearchConfig
) -> None:
    loss = F.cross_entropy(state.supernet(images), labels)
    state.adam.step(
        gradients(loss, state.adam.parameters),
        rate=config.alpha_learning_rate,
        weight_decay=config.alpha_weight_decay,
    )


def _endless(
    images: LabelledImages, config: SearchConfig, epoch: int
) -> Iterator[tuple[Tensor, Tensor]]:
    # One generator for all passes of the epoch: a second pass shuffles differently.
    generator = epoch_generator(config.seed, epoch, VALID)
    for _ in count():
        yield from images.batches(config.batch_size, generator, config.augment)


def _record(epoch: Epoch, supernet: Supernet) -> EpochRecord:
    alphas = supernet.alphas()
    return EpochRecord(
        epoch=epoch.index,
        train_loss=epoch.train.loss,
        train_accuracy=epoch.train.accuracy,
        valid_loss=epoch.valid.loss,
        valid_accuracy=epoch.valid.accuracy,
        learning_rate=epoch.learning_rate,
        entropy_normal=mean_entropy(alphas["normal"]),
        entropy_reduction=mean_entropy(alphas["reduction"]) if "reduction" in alphas else None,
        skip_count=derive(supernet).skip_count,
        alphas_normal=_rounded(alphas["normal"]),
        alphas_reduction=_rounded(alphas["reduction"]) if "reduction" in alphas else (),
        seconds=epoch.seconds,
        steps=epoch.steps,
    )


def _rounded(alphas: Tensor) -> Alphas:
    rows = alphas.detach().softmax(dim=-1).tolist()
    return tuple(tuple(round(value, 4) for value in row) for row in rows)
