"""Supernets: the registry's entries, each with its lineage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NewType
from uuid import UUID

from core.domain.datasets import Dataset, DatasetId
from core.domain.jobs import JobId

SupernetId = NewType("SupernetId", UUID)


class LineageKind(StrEnum):
    """Where a supernet's knowledge comes from."""

    DATASET = "dataset"
    MULTI_DATASET = "multi-dataset"
    SEARCH = "search"  # of its one dataset, whose owner agreed
    IMPORT = "import"  # from a file: its datasets need not be registered here


@dataclass(frozen=True, slots=True)
class Supernet:
    """Weights and alphas in one search space; `sha256` is of their bytes, registered once.

    `dataset_id` is None unless it was trained on that one dataset, `job_id` unless a job here
    trained it. `lineage` is as `lineage` below spells it.
    """

    id: SupernetId
    name: str
    dataset_id: DatasetId | None
    job_id: JobId | None
    space: Mapping[str, Any]
    resolution: int
    key: str
    sha256: str
    metrics: Mapping[str, Any]
    seconds: float
    lineage: Mapping[str, Any]
    created_at: datetime


def lineage(
    datasets: Sequence[Dataset],
    *,
    kind: LineageKind | None = None,
    parents: Sequence[str] = (),
    training: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What a supernet was trained on here: datasets, the SHA-256 of each supernet it was
    continued from, and a free record of how. The kind goes by their number unless it is said."""
    by_number = LineageKind.DATASET if len(datasets) == 1 else LineageKind.MULTI_DATASET
    return {
        "kind": (kind or by_number).value,
        "datasets": [
            {
                "name": each.name,
                "sha256": each.sha256,
                "classes": len(each.classes),
                "images": each.n_train,
            }
            for each in datasets
        ],
        "parents": list(parents),
        "training": dict(training or {}),
    }
