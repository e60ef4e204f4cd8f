"""Scoring a classifier on labelled images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from core.nas.classifier import ImageClassifier
from core.nas.images import LabelledImages


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """How a model does on some images.

    Args:
        accuracy: Share of right answers, in 0..1.
        loss: Mean cross-entropy in nats.
        confusion: ``[K, K]`` int64 on the CPU: rows are true classes, columns answers.
        per_class: Accuracy of each class; None for a class without images.
        answers: ``[N]`` int64 on the CPU, the class that each image was taken for.
        certainties: ``[N]`` on the CPU, the probabilities of the answers.
    """

    accuracy: float
    loss: float
    confusion: Tensor
    per_class: tuple[float | None, ...]
    answers: Tensor
    certainties: Tensor


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
    certainties, answers = logits.softmax(dim=1).max(dim=1)
    pairs = images.labels * model.classes + answers
    confusion = torch.bincount(pairs, minlength=model.classes**2).reshape(model.classes, -1).cpu()
    hits, totals = confusion.diagonal().tolist(), confusion.sum(dim=1).tolist()
    return Evaluation(
        accuracy=sum(hits) / len(images),
        loss=F.cross_entropy(logits, images.labels).item(),
        confusion=confusion,
        per_class=tuple(h / t if t else None for h, t in zip(hits, totals, strict=True)),
        answers=answers.cpu(),
        certainties=certainties.cpu(),
    )
