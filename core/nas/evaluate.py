"""Scoring a classifier, and training a derived network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from core.nas.classifier import ImageClassifier
from core.nas.images import LabelledImages, epoch_generator
from core.nas.loop import PATHS, Step, TrainingConfig, TrainingState, check_limits, run_epochs
from core.nas.network import Network


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """How a model does on some images.

    Args:
        accuracy: Share of right answers, in 0..1.
        loss: Mean cross-entropy in nats.
        confusion: ``[K, K]`` int64 on the CPU: rows are true classes, columns answers.
        per_class: Accuracy of each class; None for a class without images.
    """

    accuracy: float
    loss: float
    confusion: Tensor
    per_class: tuple[float | None, ...]


@torch.no_grad()
def evaluate(model: ImageClassifier, images: LabelledImages, batch_size: int) -> Evaluation:
    """Score `model` in evaluation mode, with the running statistics it has.

    Args:
        model: Its mode is restored.
        images: At least one.
        batch_size: Images per forward pass.

    Raises:
        ValueError: no images, or not the model's classes.
    """
    if not len(images) or images.classes != model.classes:
        raise ValueError(
            f"images: {len(images)} of {images.classes} classes for a model of {model.classes}"
        )
    training = model.training
    model.eval()
    logits = torch.cat([model(batch).double() for batch, _ in images.batches(batch_size)])
    model.train(training)
    pairs = images.labels * model.classes + logits.argmax(dim=1)
    confusion = torch.bincount(pairs, minlength=model.classes**2).reshape(model.classes, -1).cpu()
    hits, totals = confusion.diagonal().tolist(), confusion.sum(dim=1).tolist()
    return Evaluation(
        accuracy=sum(hits) / len(images),
        loss=F.cross_entropy(logits, images.labels).item(),
        confusion=confusion,
        per_class=tuple(h / t if t else None for h, t in zip(hits, totals, strict=True)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainConfig(TrainingConfig):
    """Settings of a retraining; see `TrainingConfig` for the rest.

    Args:
        learning_rate_min: The cosine ends at zero, as in the paper.
        drop_path: Chance of dropping an edge in the last epoch; rises from 0 linearly.

    Raises:
        ValueError: a value that is not finite or out of range.
    """

    learning_rate_min: float = 0.0
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        # The zero-argument super() does not survive slots=True.
        TrainingConfig.__post_init__(self)
        check_limits(self, {"drop_path": (0.0, 0.9)})


class RetrainState(TrainingState):
    """A derived network, its optimiser and the completed epochs.

    Args:
        network: Trained in place.
    """

    def __init__(self, network: Network) -> None:
        super().__init__(network, list(network.parameters()))
        self.network = network


@dataclass(frozen=True, slots=True)
class RetrainRecord:
    """What one epoch of a retraining did; epoch 0 is the start, measured before any step.

    Fields as in `core.nas.search.EpochRecord`; `valid` is held out from this training. Inherited
    weights have not seen it either if it lies in the search's validation half (see
    `LabelledImages.split`), but the alphas, and ridge and temperature of a solved head, have.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    valid_loss: float
    valid_accuracy: float
    learning_rate: float
    seconds: float
    steps: int


def retrain(
    state: RetrainState, train: LabelledImages, valid: LabelledImages, config: RetrainConfig
) -> Iterator[RetrainRecord]:
    """Train a derived network; the last epoch's weights are the result.

    The last, not the best: the cosine ends at zero, and choosing by validation accuracy would
    make the held-out figure an optimistic one.

    Args:
        state: Advanced in place; `state.tensors()` between two records is a checkpoint.
        train: Images to train on.
        valid: Held-out images, on the same device.
        config: Settings; the same for a resumed run.

    Yields:
        One record per epoch, and first one for the start (again if it was saved as the start).

    Raises:
        Diverged: a loss is not finite.
    """

    def prepare(epoch: int) -> Step:
        state.network.drop_path = config.drop_path * epoch / max(1, config.epochs - 1)
        state.network.path_generator = epoch_generator(config.seed, epoch, PATHS)
        return Step()

    for epoch in run_epochs(state, train, valid, config, prepare=prepare):
        yield RetrainRecord(
            epoch=epoch.index,
            train_loss=epoch.train.loss,
            train_accuracy=epoch.train.accuracy,
            valid_loss=epoch.valid.loss,
            valid_accuracy=epoch.valid.accuracy,
            learning_rate=epoch.learning_rate,
            seconds=epoch.seconds,
            steps=epoch.steps,
        )
