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
    trained it. `lineage` is as `lineage` below spells it. `size_bytes` are of an imported file,
    0 of what a job trained.
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
    size_bytes: int = 0


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


def continued(
    parent: Supernet, datasets: Sequence[Dataset], *, training: Mapping[str, Any]
) -> dict[str, Any]:
    """What a supernet knows that went on from `parent` on these datasets.

    Its datasets are the parent's and those that joined; `training["continued"]` says which of the
    parent's were replayed and which were not, because they are not registered here.
    """
    made = lineage(datasets, parents=(parent.sha256,))
    now = {each["sha256"]: each for each in made["datasets"]}
    # The parent's word may hold a licence and a source.
    earlier = {each["sha256"]: each for each in parent.lineage.get("datasets", ())}
    record = {
        "supernet_id": str(parent.id),
        "supernet_name": parent.name,
        "replayed": [each["name"] for key, each in now.items() if key in earlier],
        "not_replayed": [each["name"] for key, each in earlier.items() if key not in now],
        "joined": [each["name"] for key, each in now.items() if key not in earlier],
    }
    return {
        **made,
        "kind": LineageKind.MULTI_DATASET.value,
        "datasets": [{**earlier.get(key, {}), **now.get(key, {})} for key in {**earlier, **now}],
        "training": {**training, "continued": record},
    }
