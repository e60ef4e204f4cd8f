"""Supernets: the registry's entries, each with its lineage."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NewType
from uuid import UUID

from core.domain.datasets import DatasetId
from core.domain.jobs import JobId

SupernetId = NewType("SupernetId", UUID)


@dataclass(frozen=True, slots=True)
class Supernet:
    """Weights and alphas in one search space, trained on `dataset_id` by `job_id`."""

    id: SupernetId
    name: str
    dataset_id: DatasetId
    job_id: JobId
    space: Mapping[str, Any]
    resolution: int
    key: str
    sha256: str
    metrics: Mapping[str, Any]
    seconds: float
    created_at: datetime
