"""A dataset reduced to what distances need: class moments and a fixed sample of its features."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from core.ot.moments import ClassMoments, class_moments

# m = classes, N = samples given, n = samples kept, D = feature dimension.
_TENSORS = ("features", "labels", "counts", "means", "factors", "traces", "about")
# Factors of a dataset with very many classes are cut to this size in memory, but never below
# this rank: what is cut is made up for (core.ot.label_distances).
_FACTOR_BYTES = 1 << 26
_LEAST_RANK = 32


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedDataset:
    """Computed once per dataset and embedder; every later comparison reads only this.

    Attributes:
        features: ``[n, D]`` float32, sorted by class; within a class in a fixed random order, so
            the first rows of each class are a random sample of it.
        labels: ``[n]`` int64.
        rows: ``[n]`` int64, which of the samples given each kept one is; -1 where unknown.
        classes: Names of the m classes that have samples.
        moments: Class moments over *all* samples, not only those kept.
        embedder: ``name@version`` of the embedder; only equal ones may be compared.

    A dataset of statistics alone (:meth:`without_samples`) has n = 0.
    """

    features: Tensor
    labels: Tensor
    rows: Tensor
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
        return self.moments.weights

    @property
    def centre(self) -> Tensor:
        """``[D]`` float64 mean of all samples."""
        return self.class_weights @ self.moments.means

    @property
    def has_samples(self) -> bool:
        """Whether samples were kept, or only the statistics of classes."""
        return len(self.labels) > 0

    def without_samples(self) -> EmbeddedDataset:
        """The class statistics alone: nothing in them belongs to a single image."""
        empty = self.labels[:0]
        return replace(self, features=self.features[:0], labels=empty, rows=empty)

    def to_tensors(self) -> dict[str, Tensor]:
        """Everything as named tensors, ready for a safetensors file."""
        about = json.dumps({"classes": list(self.classes), "embedder": self.embedder})
        return {
            "features": self.features.contiguous(),
            "labels": self.labels.contiguous(),
            "rows": self.rows.contiguous(),
            "counts": self.moments.counts.contiguous(),
            "means": self.moments.means.contiguous(),
            "factors": self.moments.factors.contiguous(),
            "traces": self.moments.traces.contiguous(),
            "spectra": self.moments.spectra.contiguous(),
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
    rank = max(_LEAST_RANK, _FACTOR_BYTES // (8 * features.shape[1] * len(present)))
    moments = class_moments(features, labels, classes=len(present), rank=rank)
    order = _canonical_draw(features, labels, seed)
    features, labels = features[order], labels[order]
    kept = stratified_rows(moments, labels, samples)
    return EmbeddedDataset(
        features=features[kept],
        labels=labels[kept],
        rows=order[kept],
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
    """Inverse of :meth:`EmbeddedDataset.to_tensors`; also reads files from before `rows`.

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
    rows = tensors.get("rows", torch.full_like(labels, -1))
    factors = tensors["factors"]
    m, dimension = len(classes), features.shape[-1]
    if factors.ndim != 3 or tuple(factors.shape[:2]) != (m, dimension):
        raise ValueError(f"factors have shape {tuple(factors.shape)}, expected 3 axes")
    moments = ClassMoments(
        counts=tensors["counts"],
        means=tensors["means"],
        factors=factors,
        traces=tensors["traces"],
        spectra=tensors.get("spectra", _spectra(factors)),
    )
    _check_moments(moments, m, dimension)
    _check_rows(features, labels, rows, m)
    return EmbeddedDataset(features, labels, rows, classes, moments, embedder)


def _spectra(factors_mDR: Tensor) -> Tensor:
    """Column lengths of uncut factors."""
    spectra_mD = factors_mDR.new_zeros(factors_mDR.shape[:2])
    width = min(factors_mDR.shape[1:])
    spectra_mD[:, :width] = torch.linalg.vector_norm(factors_mDR, dim=1)[:, :width]
    return spectra_mD


def _check_moments(moments: ClassMoments, m: int, dimension: int) -> None:
    shapes = {
        "counts": (m,), "means": (m, dimension), "traces": (m,), "spectra": (m, dimension)
    }  # fmt: skip
    for name, shape in shapes.items():
        found = tuple(getattr(moments, name).shape)
        if found != shape:
            raise ValueError(f"{name} has shape {found}, expected {shape}")
    for name in ("means", "factors", "traces", "spectra"):
        if not bool(torch.isfinite(getattr(moments, name)).all()):
            raise ValueError(f"{name} holds values that are not finite")
    if bool((moments.counts < 1).any()) or bool((moments.traces < 0).any()):
        raise ValueError("counts must be positive and traces non-negative")


def _check_rows(features: Tensor, labels: Tensor, rows: Tensor, m: int) -> None:
    if tuple(labels.shape) != (len(features),) or rows.shape != labels.shape:
        raise ValueError(
            f"labels have shape {tuple(labels.shape)} and rows {tuple(rows.shape)}, "
            f"expected one for each of {len(features)} samples"
        )
    if not len(labels):
        return
    if bool((labels[1:] < labels[:-1]).any()):
        raise ValueError("labels must be sorted")
    _check(features, labels, m, len(labels))
    if len(torch.unique(labels)) != m:
        raise ValueError("labels must give every class a sample")


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
