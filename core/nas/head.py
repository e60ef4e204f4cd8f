"""A linear head solved in closed form: ridge regression on standardised pooled features."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from core.nas.classifier import ImageClassifier
from core.nas.images import LabelledImages

# Ridge strengths relative to the number of images (features have unit variance).
_RIDGES = tuple(10.0 ** (exponent / 2) for exponent in range(-12, 5))
# Bounded: on separable validation images the best temperature is infinite.
_LOG_TEMPERATURES = (-2.0, 4.0)


@dataclass(frozen=True, slots=True, eq=False)
class HeadSolution:
    """A solved linear classifier for raw (not standardised) features.

    Args:
        weight: ``[K, D]`` float64.
        bias: ``[K]`` float64.
        ridge: Chosen strength, relative to the number of training images.
        temperature: Factor on the regression scores that makes them logits.
        valid_accuracy: Share of the validation images that the head gets right.
    """

    weight: Tensor
    bias: Tensor
    ridge: float
    temperature: float
    valid_accuracy: float


def solve_head(
    features_train: Tensor,
    labels_train: Tensor,
    features_valid: Tensor,
    labels_valid: Tensor,
    classes: int,
) -> HeadSolution:
    """Fit one-hot targets by ridge regression and scale the scores to logits.

    ``min_W,b  |Z W + b - Y|^2 + N ridge |W|^2`` with standardised features Z; the bias is free.
    The ridge maximises validation accuracy (ties: the stronger), the temperature minimises
    validation cross-entropy. Constant features get weight zero; classes may be absent.

    Args:
        features_train: ``[N, D]``.
        labels_train: ``[N]`` int64.
        features_valid: ``[M, D]``.
        labels_valid: ``[M]`` int64.
        classes: K.

    Returns:
        The head, standardisation and temperature folded in, on the device of the features.

    Raises:
        ValueError: an empty part, or features that are not finite.
    """
    if not len(features_train) or not len(features_valid):
        raise ValueError("features: training and validation part must not be empty")
    train, valid = features_train.double(), features_valid.double()
    if not bool(train.isfinite().all()) or not bool(valid.isfinite().all()):
        raise ValueError("features: not finite")
    mean, scale = train.mean(0), _inverse_deviation(train)
    targets = F.one_hot(labels_train, classes).double()
    centred, centre = (train - mean) * scale, targets.mean(0)
    # One eigendecomposition serves every ridge.
    values, vectors = torch.linalg.eigh(centred.t() @ centred / len(train))
    projected = vectors.t() @ (centred.t() @ (targets - centre)) / len(train)
    valid_projected = ((valid - mean) * scale) @ vectors

    def correct(ridge: float) -> int:
        scores = valid_projected @ (projected / (values.clamp_min(0) + ridge)[:, None]) + centre
        return int((scores.argmax(dim=1) == labels_valid).sum())

    hits, ridge = max((correct(ridge), ridge) for ridge in _RIDGES)
    weight = (vectors @ (projected / (values.clamp_min(0) + ridge)[:, None])).t() * scale
    bias = centre - weight @ mean
    temperature = _temperature(valid @ weight.t() + bias, labels_valid)
    return HeadSolution(
        weight=weight * temperature,
        bias=bias * temperature,
        ridge=ridge,
        temperature=temperature,
        valid_accuracy=hits / len(valid),
    )


@torch.no_grad()
def install(model: ImageClassifier, solution: HeadSolution) -> None:
    """Put a solved head into `model`, in place.

    Raises:
        ValueError: the head has another shape than the model's.
    """
    if solution.weight.shape != model.classifier.weight.shape:
        raise ValueError(
            f"head: {list(solution.weight.shape)} is not {list(model.classifier.weight.shape)}"
        )
    model.classifier.weight.copy_(solution.weight)
    model.classifier.bias.copy_(solution.bias)


@torch.no_grad()
def remove_temperature(model: ImageClassifier, solution: HeadSolution) -> None:
    """Divide an installed head by its temperature, in place: same answers, smaller logits.

    The temperature serves calibration. For descent it multiplies the gradient that reaches the
    trunk, and float32 logits of several tens lose absolute precision.

    Args:
        model: Carries the head of `solution`, as `fit_head` leaves it.
        solution: What `fit_head` returned.
    """
    model.classifier.weight.div_(solution.temperature)
    model.classifier.bias.div_(solution.temperature)


def fit_head(
    model: ImageClassifier, train: LabelledImages, valid: LabelledImages, *, batch_size: int
) -> HeadSolution:
    """Solve the head of `model` on its own features and install it.

    Args:
        model: In place; its running statistics must already fit the images (`reestimate`).
        train: Images to regress on.
        valid: Images that choose ridge and temperature.
        batch_size: Images per forward pass.

    Raises:
        ValueError: as `solve_head`.
    """
    solution = solve_head(
        collect_features(model, train.batches(batch_size)),
        train.labels,
        collect_features(model, valid.batches(batch_size)),
        valid.labels,
        model.classes,
    )
    install(model, solution)
    return solution


@torch.no_grad()
def collect_features(model: ImageClassifier, batches: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Pooled features ``[N, D]`` in evaluation mode; the model's mode is restored."""
    training = model.training
    model.eval()
    try:
        return torch.cat([model.features(images) for images, _ in batches])
    finally:
        model.train(training)


def _inverse_deviation(features: Tensor) -> Tensor:
    deviation = features.std(dim=0, correction=0)
    # Rounding leaves constant features a deviation of about one unit in the last place.
    noise = 1e-6 * features.abs().amax(dim=0)
    return torch.where(deviation > noise, 1 / deviation.clamp_min(1e-300), 0.0)


def _temperature(scores: Tensor, labels: Tensor) -> float:
    # Cross-entropy is convex in the factor, so it has one valley along its logarithm too.
    low, high = _LOG_TEMPERATURES
    for _ in range(48):
        left, right = low + (high - low) / 3, high - (high - low) / 3
        losses = [float(F.cross_entropy(scores * math.exp(t), labels)) for t in (left, right)]
        low, high = (low, right) if losses[0] <= losses[1] else (left, high)
    return math.exp((low + high) / 2)
