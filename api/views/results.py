"""Supernets, searches, models and prunings as the API shows them."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field

from api.views.jobs import JobView
from api.views.neighbours import StoredRanking
from api.views.shapes import FreeForm, View, finite
from api.views.stored import Genotype, Lineage, Space
from core.domain.prunings import Pruning
from core.domain.searches import Artifact, Model


class SupernetView(View):
    """A registered supernet with its lineage."""

    id: UUID
    name: str
    dataset_id: UUID | None
    job_id: UUID | None
    space: Space
    resolution: int
    sha256: str
    metrics: FreeForm
    seconds: float
    lineage: Lineage
    created_at: datetime


class SearchView(View):
    """A search, and its result once its job has succeeded."""

    id: UUID
    dataset_id: UUID
    job_id: UUID
    spec: Annotated[FreeForm, Field(description="What was asked, with all that it left out.")]
    ranking: StoredRanking | None
    start: FreeForm | None
    model_id: UUID | None
    created_at: datetime


class SubmittedSearchView(SearchView):
    """A search just asked for, with its job."""

    job: JobView


class ArtifactView(View):
    """A downloadable file."""

    name: str
    sha256: str
    size: int
    media_type: str
    href: str

    @classmethod
    def of(cls, owner: Model | Pruning, artifact: Artifact) -> "ArtifactView":
        """The file, with the address it is downloaded from."""
        folder = "prunings" if isinstance(owner, Pruning) else "models"
        href = f"/v1/{folder}/{owner.id}/artifacts/{artifact.name}"
        return cls(
            name=artifact.name,
            sha256=artifact.sha256,
            size=artifact.size,
            media_type=artifact.media_type,
            href=href,
        )


class ModelView(View):
    """A finished model."""

    id: UUID
    search_id: UUID
    dataset_id: UUID
    genotype: Genotype
    metrics: FreeForm
    artifacts: list[ArtifactView]
    manifest_sha256: str
    created_at: datetime

    @classmethod
    def of(cls, model: Model) -> "ModelView":
        """The model, with the addresses of its files."""
        return cls(
            id=model.id,
            search_id=model.search_id,
            dataset_id=model.dataset_id,
            genotype=finite(model.genotype),
            metrics=finite(model.metrics),
            artifacts=[ArtifactView.of(model, artifact) for artifact in model.artifacts],
            manifest_sha256=model.manifest_sha256,
            created_at=model.created_at,
        )


class PruningView(View):
    """A pruning of a known network, and its result once its job has succeeded."""

    id: UUID
    dataset_id: UUID
    job_id: UUID
    spec: Annotated[FreeForm, Field(description="What was asked, with all that it left out.")]
    mask: Annotated[
        dict[str, list[int]] | None,
        Field(description="Of each group of coupled channels, by the name of the layer that makes"
              " them, 1 for every chunk that stays."),
    ]  # fmt: skip
    metrics: FreeForm | None
    artifacts: list[ArtifactView]
    manifest_sha256: str | None
    created_at: datetime

    @classmethod
    def of(cls, pruning: Pruning) -> "PruningView":
        """The pruning, with the addresses of its files."""
        return cls(
            id=pruning.id,
            dataset_id=pruning.dataset_id,
            job_id=pruning.job_id,
            spec=finite(pruning.spec),
            mask=pruning.mask,
            metrics=None if pruning.metrics is None else finite(pruning.metrics),
            artifacts=[ArtifactView.of(pruning, each) for each in pruning.artifacts],
            manifest_sha256=pruning.manifest_sha256,
            created_at=pruning.created_at,
        )


class SubmittedPruningView(PruningView):
    """A pruning just asked for, with its job."""

    job: JobView
