"""Training one supernet on several datasets at once, so that others may start from it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from core.nas.classifier import uniform
from core.nas.genotype import Genotype
from core.nas.head import fit_head, remove_temperature
from core.nas.images import LabelledImages, epoch_generator
from core.nas.limits import check_limits
from core.nas.loop import (
    STATISTICS,
    TrainingConfig,
    TrainingState,
    gradients,
)
from core.nas.normalisation import reestimate
from core.nas.optimisers import Adam, Optimiser
from core.nas.paths import sandwich_loss
from core.nas.precision import autocast, deterministic, require, widened
from core.nas.scores import Meter, Score, measure
from core.nas.selection.variation import uniform_sample
from core.nas.supernet import Supernet

# Streams of `epoch_generator` that the loop, the methods and the guard do not use.
_ORDER, _GENOTYPES, _HEADS, _SOLVED, _SHUFFLES = 32, 33, 34, 35, 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiDatasetConfig(TrainingConfig):
    """Settings of a training on several datasets; an epoch is a round of `steps`.

    Args:
        steps: Weight steps of a round.
        paths: Sub-networks that learn beside the mixture in every step.
        alpha_every: Weight steps from one architecture step to the next; 0 leaves the alphas be.
        alpha_learning_rate: Of Adam on the architecture parameters.
        alpha_weight_decay: On the architecture parameters.
        statistics_images: Of each dataset after a round, to re-estimate running statistics by.
        measured_images: Of each dataset after a round, at most, to measure on.
        head_images: Of each half of a dataset, at most, to solve its head by (`solve_heads`).
        recompute: Compute maps again in backward passes instead of keeping them.

    Raises:
        ValueError: a value that is not finite or out of range.
    """

    steps: int = 100
    paths: int = 2
    alpha_every: int = 4
    alpha_learning_rate: float = 3e-3
    alpha_weight_decay: float = 1e-3
    statistics_images: int = 128
    measured_images: int = 128
    head_images: int = 4096
    recompute: bool = False

    MORE_LIMITS: ClassVar[dict[str, tuple[float, float]]] = {
        "steps": (1, 1_000_000),
        "paths": (0, 64),
        "alpha_every": (0, 1_000_000),
        "alpha_learning_rate": (0.0, 10.0),
        "alpha_weight_decay": (0.0, 1.0),
        "measured_images": (2, 1_000_000_000),
        "head_images": (2, 1_000_000_000),
    }

    def __post_init__(self) -> None:
        TrainingConfig.__post_init__(self)
        check_limits(self, self.MORE_LIMITS)
        if self.solve_head:
            raise ValueError("solve_head: each dataset has a head of its own, which is descended")


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One of the datasets: images that move the weights, and those that move the alphas.

    Both have the resolution and the channels of all others, and a normalisation of their own.
    """

    train: LabelledImages
    valid: LabelledImages


class MultiDatasetState(TrainingState):
    """A supernet, a head for each dataset, optimisers, completed rounds.

    The supernet's own head is not trained. Statistics of normalisation are those of a batch,
    which is of one dataset, so datasets need no sets of their own: whoever measures or starts
    from the supernet re-estimates them.

    Args:
        supernet: Trained in place.
        classes: Of each dataset.
        seed: Draws the heads.
    """

    def __init__(self, supernet: Supernet, classes: Sequence[int], *, seed: int) -> None:
        generator, features = epoch_generator(seed, 0, _HEADS), supernet.space.feature_channels
        self.heads = nn.ModuleList(_head(features, each, generator) for each in classes)
        self.heads.to(supernet.stem)
        trunk = [p for p in supernet.weight_parameters() if not _is_head(supernet, p)]
        super().__init__(supernet, [*trunk, *self.heads.parameters()])
        self.supernet = supernet
        self.adam = Adam(supernet.alpha_parameters())

    def optimisers(self) -> dict[str, Optimiser]:
        """The optimisers by the name under which their tensors are kept."""
        return {"descent": self.descent, "adam": self.adam}

    def modules(self) -> dict[str, nn.Module]:
        """The modules by the name under which their tensors are kept; the model first."""
        return {"model": self.supernet, "heads": self.heads}

    @contextmanager
    def wearing(self, dataset: int) -> Iterator[Supernet]:
        """The supernet with the head of that dataset."""
        own = self.supernet.classifier
        self.supernet.classifier = self.heads[dataset]  # type: ignore[assignment]
        try:
            yield self.supernet
        finally:
            self.supernet.classifier = own


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """What one round did.

    Args:
        epoch: Completed rounds.
        train_loss: Mean cross-entropy of the mixture over the round's batches.
        train_accuracy: Likewise, in 0..1.
        valid_accuracy: Mean over datasets of what their head reaches on images that moved alphas
            only, with re-estimated statistics.
        valid_accuracies: By dataset.
        steps_of: Weight steps by dataset.
        learning_rate: Of the weights in this round.
        seconds: Wall clock, measuring included.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    valid_accuracy: float
    valid_accuracies: tuple[float, ...]
    steps_of: tuple[int, ...]
    learning_rate: float
    seconds: float


def solve_heads(
    state: MultiDatasetState, parts: Sequence[Part], config: MultiDatasetConfig
) -> None:
    """Solve the head of every dataset in closed form, where the supernet has learned elsewhere.

    Without their temperatures (`core.nas.head.remove_temperature`): drawn heads, or steep ones,
    would first of all disturb what the supernet knows.

    Args:
        state: Its heads and running statistics are changed in place.
        parts: The datasets, in the order of the state's heads.
        config: Settings of the run to come.

    Raises:
        ValueError: another number of datasets than heads, or features that are not finite.
    """
    _require_head_each(state, parts)
    with deterministic(config.deterministic):
        for at, part in enumerate(parts):
            generator = epoch_generator(config.seed, at, _SOLVED)
            train = part.train.sample(config.head_images, generator)
            valid = part.valid.sample(config.head_images, generator)
            with state.wearing(at) as supernet:
                reestimate(supernet, train.batches(config.batch_size))
                solution = fit_head(supernet, train, valid, batch_size=config.batch_size)
                remove_temperature(supernet, solution)


def run(
    state: MultiDatasetState, parts: Sequence[Part], config: MultiDatasetConfig
) -> Iterator[RoundRecord]:
    """Interleave batches of all datasets, drawn in proportion to the root of their sizes.

    In every step the mixture learns from the labels and some paths, drawn uniformly, from the
    mixture (`core.nas.paths.sandwich_loss`). Architecture gradients have norm one whatever the
    dataset, so that none decides for all.

    Args:
        state: Advanced in place; `state.tensors()` between two records is a checkpoint.
        parts: The datasets, in the order of the state's heads.
        config: Settings; the same for a resumed run.

    Yields:
        One record per round.

    Raises:
        Diverged: a loss is not finite.
        ValueError: another number of datasets than heads, or a device that cannot compute in the
            precision asked for.
    """
    _require_head_each(state, parts)
    require(config.precision, state.supernet.stem.device)
    state.supernet.recompute(config.recompute)
    while state.epoch < config.epochs:
        started = time.perf_counter()
        # Never across a yield: the setting is the process's, also while others compute.
        with deterministic(config.deterministic):
            score, steps_of = _round(state, parts, config)
            state.epoch += 1
            accuracies = tuple(_measured(state, at, each, config) for at, each in enumerate(parts))
        yield RoundRecord(
            epoch=state.epoch,
            train_loss=score.loss,
            train_accuracy=score.accuracy,
            valid_accuracy=math.fsum(accuracies) / len(accuracies),
            valid_accuracies=accuracies,
            steps_of=steps_of,
            learning_rate=config.rate(state.epoch - 1),
            seconds=time.perf_counter() - started,
        )


def _require_head_each(state: MultiDatasetState, parts: Sequence[Part]) -> None:
    if len(parts) != len(state.heads):
        raise ValueError(f"parts: {len(parts)} datasets for {len(state.heads)} heads")


def _round(
    state: MultiDatasetState, parts: Sequence[Part], config: MultiDatasetConfig
) -> tuple[Score, tuple[int, ...]]:
    chances = torch.tensor([math.sqrt(len(each.train)) for each in parts])
    order = torch.multinomial(
        chances,
        config.steps,
        replacement=True,
        generator=epoch_generator(config.seed, state.epoch, _ORDER),
    )
    paths = epoch_generator(config.seed, state.epoch, _GENOTYPES)
    feeds = [_Feed(each, at, state.epoch, config) for at, each in enumerate(parts)]
    meter, counts = Meter(), [0] * len(parts)
    state.supernet.train()
    for step, at in enumerate(order.tolist()):
        counts[at] += 1
        with state.wearing(at) as supernet:
            if config.alpha_every and step % config.alpha_every == config.alpha_every - 1:
                seen, answers = next(feeds[at].valid)
                _alpha_step(state, seen, answers, config)
            images, labels = next(feeds[at].train)
            drawn = [uniform_sample(supernet.space, paths) for _ in range(config.paths)]
            _weight_step(state, images, labels, drawn, config, meter)
    return meter.score(), tuple(counts)


def _weight_step(
    state: MultiDatasetState,
    images: Tensor,
    labels: Tensor,
    genotypes: Sequence[Genotype],
    config: MultiDatasetConfig,
    meter: Meter,
) -> None:
    with autocast(config.precision, images.device):
        loss, logits = sandwich_loss(state.supernet, images, labels, genotypes)
    state.descent.step(
        gradients(loss, state.descent.parameters),
        rate=config.rate(state.epoch),
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        clip=config.gradient_clip,
    )
    meter.add(nn.functional.cross_entropy(logits.detach(), labels), logits, labels)


def _alpha_step(
    state: MultiDatasetState, images: Tensor, labels: Tensor, config: MultiDatasetConfig
) -> None:
    with autocast(config.precision, images.device):
        loss = nn.functional.cross_entropy(widened(state.supernet(images)), labels)
    found = [g for g in gradients(loss, state.adam.parameters) if g is not None]
    norm = torch.stack([g.norm() for g in found]).norm().clamp_min(1e-12)
    state.adam.step(
        [g / norm for g in found],
        rate=config.alpha_learning_rate,
        weight_decay=config.alpha_weight_decay,
    )


class _Feed:
    """Batches of one dataset in one round; both halves without end."""

    def __init__(self, part: Part, at: int, epoch: int, config: MultiDatasetConfig) -> None:
        def endless(images: LabelledImages, stream: int) -> Iterator[tuple[Tensor, Tensor]]:
            generator = epoch_generator(config.seed, epoch, stream)
            while True:
                yield from images.batches(config.batch_size, generator, config.augmenter)

        self.train = endless(part.train, _SHUFFLES + 2 * at)
        self.valid = endless(part.valid, _SHUFFLES + 2 * at + 1)


def _measured(state: MultiDatasetState, at: int, part: Part, config: MultiDatasetConfig) -> float:
    generator = epoch_generator(config.seed, at, STATISTICS)
    train = part.train.sample(config.statistics_images, generator)
    valid = part.valid.sample(config.measured_images, generator)
    with state.wearing(at) as supernet:
        reestimate(supernet, train.batches(config.batch_size))
        return measure(supernet, valid, config.batch_size).accuracy


def _head(features: int, classes: int, generator: torch.Generator) -> nn.Linear:
    head = nn.Linear(features, classes, device="meta")
    head.weight = uniform((classes, features), features**-0.5, generator)
    head.bias = uniform((classes,), features**-0.5, generator)
    return head


def _is_head(supernet: Supernet, parameter: nn.Parameter) -> bool:
    return any(parameter is own for own in supernet.classifier.parameters())
