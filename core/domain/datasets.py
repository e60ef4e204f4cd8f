"""Datasets as the registry knows them: immutable, content-addressed, with their intake report."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NewType
from uuid import UUID

DatasetId = NewType("DatasetId", UUID)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something found at intake: `severity` is `error` (left out) or `warning` (kept)."""

    severity: str
    code: str
    place: str
    message: str


@dataclass(frozen=True, slots=True)
class DatasetReport:
    """What intake saw: every file left out or worth a look, and how the split was made."""

    problems: tuple[Problem, ...]
    images_seen: int
    images_kept: int
    exact_duplicates: int
    split: str
    split_seed: int | None
    modes: Mapping[str, int]
    sizes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Dataset:
    """An immutable set of labelled images; the same content is the same dataset."""

    id: DatasetId
    sha256: str
    name: str
    classes: tuple[str, ...]
    train_counts: tuple[int, ...]
    test_counts: tuple[int, ...]
    channels: int
    report: DatasetReport
    created_at: datetime

    @property
    def n_train(self) -> int:
        """Images in the train split."""
        return sum(self.train_counts)

    @property
    def n_test(self) -> int:
        """Images in the test split."""
        return sum(self.test_counts)


@dataclass(frozen=True, slots=True)
class Embedding:
    """One dataset seen by one embedder version: where its statistics are stored."""

    dataset_id: DatasetId
    embedder: str
    key: str
    sha256: str
    dimension: int
    samples: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A ranked source for a dataset, with the evidence for its place.

    `coupling` lists the strongest class-to-class flows: (target class, source class, mass).
    """

    dataset_id: DatasetId
    dataset_name: str
    supernet_id: UUID | None
    distance: float
    interval: tuple[float, float]
    tied_with_nearest: bool
    features_part: float
    labels_part: float
    coupling: tuple[tuple[str, str, float], ...]


@dataclass(frozen=True, slots=True)
class Ranking:
    """A dataset's neighbours, nearest first, under one embedder."""

    dataset_id: DatasetId
    embedder: str
    neighbours: tuple[Neighbour, ...]
    seconds: float
    settings: Mapping[str, Any]
