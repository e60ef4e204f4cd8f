"""A dataset reduced to what distances need: class moments and a fixed sample of its features."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.ot.moments import ClassMoments, class_moments

# m = classes, N = samples given, n = samples kept, D = feature dimension.
_TENSORS = ("features", "labels", "counts", "means", "factors", "traces", "about")


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedDataset:
    """Computed once per dataset and embedder; every later comparison reads only this.

    Attributes:
        features: ``[n, D]`` float32, sorted by class; within a class in a fixed random order, so
            the first rows of each class are a random sample of it.
        labels: ``[n]`` int64.
        classes: Names of the m classes that have samples.
        moments: Class moments over *all* samples, not only those kept.
        embedder: ``name@version`` of the embedder; only equal ones may be compared.
    """

    features: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    moments: ClassMoments
    embedder: str = ""

    @property
    def dimension(self) -> int:
        """Number of feature dimensions D."""
        return int(self.features.shape[1])

    @property
    def class_weights(self) -> Tensor:
        """``[m]`` float64 share of each class among all samples."""
        counts = self.moments.counts.double()
        return counts / counts.sum()

    def to_tensors(self) -> dict[str, Tensor]:
        """Everything as named tensors, ready for a safetensors file."""
        about = json.dumps({"classes": list(self.classes), "embedder": self.embedder})
        return {
            "features": self.features.contiguous(),
            "labels": self.labels.contiguous(),
            "counts": self.moments.counts.contiguous(),
            "means": self.moments.means.contiguous(),
            "factors": self.moments.factors.contiguous(),
            "traces": self.moments.traces.contiguous(),
            "about": torch.tensor(list(about.encode()), dtype=torch.uint8),
        }


def build(
    features: Tensor,
    labels: Tensor,
    classes: Sequence[str],
    *,
    samples: int = 1000,
    seed: int = 0,
    embedder: str = "",
) -> EmbeddedDataset:
    """Reduce an embedded dataset to its moments and a stratified sample.

    The sample depends on the contents and the seed, not on the order of rows or classes: rows
    are brought into an order of their own before the seeded draw. Classes without any sample are
    left out.

    Args:
        features: ``[N, D]`` float, finite.
        labels: ``[N]`` integers in ``0..len(classes)-1``.
        classes: Class names, by label.
        samples: Samples to keep; up to one more per class where small classes are rounded up.
        seed: Of the draw.
        embedder: ``name@version`` of what made the features.

    Returns:
        The reduced dataset, on the CPU.

    Raises:
        ValueError: If shapes or labels do not fit, features are not finite, or nothing is there.
    """
    features, labels = features.detach().cpu().float(), labels.detach().cpu()
    _check(features, labels, len(classes), samples)
    present, labels = torch.unique(labels.long(), return_inverse=True)
    moments = class_moments(features, labels, classes=len(present))
    order = _canonical_draw(features, labels, seed)
    features, labels = features[order], labels[order]
    kept = stratified_rows(moments, labels, samples)
    return EmbeddedDataset(
        features=features[kept],
        labels=labels[kept],
        classes=tuple(classes[int(label)] for label in present),
        moments=moments,
        embedder=embedder,
    )


def stratified_rows(moments: ClassMoments, labels: Tensor, samples: int) -> Tensor:
    """Indices of a stratified sample of rows sorted by class: the first rows of every class.

    Rows are shared out by largest remainder, at least one per class (which may exceed `samples`
    by less than one per class); equal remainders go to the class that comes first in feature
    space, so the choice does not depend on class numbering.

    Args:
        moments: Class moments; the shares follow ``counts``.
        labels: ``[N]`` sorted labels.
        samples: Rows wanted; all are returned when there are no more than that.

    Returns:
        Ascending row indices.
    """
    available = torch.bincount(labels, minlength=len(moments.counts))
    if samples >= len(labels):
        return torch.arange(len(labels))
    quota = moments.counts.double() * (samples / float(moments.counts.sum()))
    taken = torch.minimum(quota.floor().long().clamp_min(1), available)
    remainders = (quota - taken).tolist()
    positions = moments.means.tolist()
    by_need = sorted(range(len(taken)), key=lambda label: (-remainders[label], positions[label]))
    for label in by_need:
        if int(taken.sum()) < samples and taken[label] < available[label]:
            taken[label] += 1
    starts = available.cumsum(0) - available
    rank_in_class = torch.arange(len(labels)) - starts[labels]
    return torch.nonzero(rank_in_class < taken[labels]).flatten()


def from_tensors(tensors: Mapping[str, Tensor]) -> EmbeddedDataset:
    """Inverse of :meth:`EmbeddedDataset.to_tensors`.

    Args:
        tensors: Named tensors as stored.

    Returns:
        The dataset.

    Raises:
        ValueError: If a tensor is missing, shapes disagree or values are not finite.
    """
    missing = [name for name in _TENSORS if name not in tensors]
    if missing:
        raise ValueError(f"embedded dataset lacks {', '.join(missing)}")
    classes, embedder = _read_about(tensors["about"])
    features, labels = tensors["features"], tensors["labels"]
    moments = ClassMoments(
        tensors["counts"], tensors["means"], tensors["factors"], tensors["traces"]
    )
    m, dimension = len(classes), features.shape[-1]
    shapes = {
        "counts": (m,), "means": (m, dimension), "traces": (m,), "labels": (len(features),)
    }  # fmt: skip
    for name, shape in shapes.items():
        if tuple(tensors[name].shape) != shape:
            raise ValueError(f"{name} has shape {tuple(tensors[name].shape)}, expected {shape}")
    if moments.factors.ndim != 3 or tuple(moments.factors.shape[:2]) != (m, dimension):
        raise ValueError(f"factors have shape {tuple(moments.factors.shape)}, expected 3 axes")
    for name in ("means", "factors", "traces"):
        if not bool(torch.isfinite(tensors[name]).all()):
            raise ValueError(f"{name} holds values that are not finite")
    if bool((moments.counts < 1).any()) or bool((moments.traces < 0).any()):
        raise ValueError("counts must be positive and traces non-negative")
    if bool((labels[1:] < labels[:-1]).any()):
        raise ValueError("labels must be sorted")
    _check(features, labels, m, len(labels))
    if len(torch.unique(labels)) != m:
        raise ValueError("labels must give every class a sample")
    return EmbeddedDataset(features, labels, classes, moments, embedder)


def _check(features: Tensor, labels: Tensor, classes: int, samples: int) -> None:
    if features.ndim != 2 or features.shape[1] < 1 or labels.shape != features.shape[:1]:
        raise ValueError(
            f"expected features [N, D] and labels [N], not {tuple(features.shape)} "
            f"and {tuple(labels.shape)}"
        )
    if len(features) < 1 or samples < 1:
        raise ValueError("a dataset needs at least one sample")
    if labels.is_floating_point() or labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"labels must be integers from 0 to {classes - 1}")
    if not bool(torch.isfinite(features).all()):
        raise ValueError("features hold values that are not finite")


def _canonical_draw(features: Tensor, labels: Tensor, seed: int) -> Tensor:
    """Row order sorted by class and randomly permuted within, whatever order rows came in."""
    direction = torch.randn(
        features.shape[1], generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    keys = features.double() @ direction
    draws = []
    for label in range(int(labels.max()) + 1):
        rows = torch.nonzero(labels == label).flatten()
        rows = rows[torch.argsort(keys[rows], stable=True)]
        shuffle = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
        draws.append(rows[shuffle])
    return torch.cat(draws)


def _read_about(about: Tensor) -> tuple[tuple[str, ...], str]:
    try:
        record = json.loads(bytes(about.to(torch.uint8).tolist()))
        return tuple(str(name) for name in record["classes"]), str(record["embedder"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError("embedded dataset has an unreadable description") from error
