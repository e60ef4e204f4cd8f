"""Mean loss and share of right answers: what an epoch is told by."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from core.nas.classifier import ImageClassifier
from core.nas.images import LabelledImages
from core.nas.ranks import ALONE, Ranks


class Diverged(ValueError):
    """The loss stopped being a number; smaller learning rates usually cure it."""


@dataclass(frozen=True, slots=True)
class Score:
    """Mean loss and share of right answers over some images.

    Args:
        loss: Cross-entropy in nats.
        accuracy: In 0..1.
        right: ``[N]`` bool, whether each answer is right; None where the images were the batches
            of a training.
    """

    loss: float
    accuracy: float
    right: Tensor | None = field(default=None, compare=False, repr=False)


class Meter:
    """Sums losses and hits on the device; reads them back once."""

    def __init__(self) -> None:
        self._loss: Tensor | float = 0.0
        self._hits: Tensor | int = 0
        self._count = 0

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Count a batch whose mean loss is `loss`."""
        self._loss = self._loss + loss.detach().double() * len(labels)
        self._hits = self._hits + (logits.detach().argmax(dim=1) == labels).sum()
        self._count += len(labels)

    def score(self, ranks: Ranks = ALONE) -> Score:
        """The means so far, over all processes.

        Raises:
            Diverged: the loss is not finite.
        """
        values = [self._loss, self._hits, self._count]
        if ranks.size > 1:
            device = self._loss.device if isinstance(self._loss, Tensor) else None
            sums = torch.tensor([float(v) for v in values], dtype=torch.float64, device=device)
            values = ranks.total(sums).tolist()
        total, hits, count = values
        loss = float(total) / max(1, int(count))
        if not math.isfinite(loss):
            raise Diverged(f"loss: {loss} after {int(count)} images")
        return Score(loss, int(hits) / max(1, int(count)))


@torch.no_grad()
def measure(model: ImageClassifier, images: LabelledImages, batch_size: int) -> Score:
    """Score of `model` in evaluation mode; its mode is restored."""
    training = model.training
    model.eval()
    logits = torch.cat([model(batch) for batch, _ in images.batches(batch_size)])
    model.train(training)
    return score(logits, images.labels)


def score(logits: Tensor, labels: Tensor) -> Score:
    """Score of answers that are at hand.

    Args:
        logits: ``[N, K]``.
        labels: ``[N]``.

    Raises:
        Diverged: the loss is not finite.
    """
    meter = Meter()
    meter.add(F.cross_entropy(logits, labels), logits, labels)
    return replace(meter.score(), right=logits.argmax(dim=1) == labels)
