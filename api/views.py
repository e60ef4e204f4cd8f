"""Response bodies: what the API shows of the domain's objects."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict

from core.domain.datasets import Dataset
from core.domain.jobs import Job, JobKind, JobState, QueueName
from core.domain.searches import Artifact, Model

RUNNING_POLL_MS, QUEUED_POLL_MS = 1_000, 2_000

Item = TypeVar("Item")


def finite(value: Any) -> Any:
    """Free-form values with NaN and infinities as null: JSON has no word for them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [finite(item) for item in value]
    return value


FreeForm = Annotated[dict[str, Any], BeforeValidator(finite)]


class View(BaseModel):
    """Read from a domain object's attributes."""

    model_config = ConfigDict(from_attributes=True)


class PageView(View, Generic[Item]):
    """One page of a list; `next_page_token` is null on the last."""

    items: list[Item]
    next_page_token: str | None


class ProblemView(View):
    """One thing intake found in an archive."""

    severity: str
    code: str
    place: str
    message: str


class ReportView(View):
    """What intake saw."""

    problems: list[ProblemView]
    images_seen: int
    images_kept: int
    exact_duplicates: int
    split: str
    split_seed: int | None
    modes: dict[str, int]
    sizes: dict[str, int]


class DatasetView(View):
    """A dataset without its report."""

    id: UUID
    sha256: str
    name: str
    classes: list[str]
    train_counts: list[int]
    test_counts: list[int]
    n_train: int
    n_test: int
    channels: int
    created_at: datetime


class FullDatasetView(DatasetView):
    """A dataset with its intake report."""

    report: ReportView


class NeighbourView(View):
    """A ranked source, with the evidence for its place."""

    dataset_id: UUID
    dataset_name: str
    supernet_id: UUID | None
    distance: float
    interval: tuple[float, float]
    tied_with_nearest: bool
    features_part: float
    labels_part: float
    coupling: list[tuple[str, str, float]]


class RankingView(View):
    """A dataset's neighbours, nearest first."""

    dataset_id: UUID
    embedder: str
    neighbours: list[NeighbourView]
    seconds: float
    settings: FreeForm


class SupernetView(View):
    """A registered supernet with its lineage."""

    id: UUID
    name: str
    dataset_id: UUID
    job_id: UUID
    space: FreeForm
    resolution: int
    sha256: str
    metrics: FreeForm
    seconds: float
    created_at: datetime


class JobView(View):
    """A job as it stands, and when to look again."""

    id: UUID
    kind: JobKind
    queue: QueueName
    state: JobState
    stage: str
    progress: float
    eta_seconds: float | None
    attempt: int
    max_attempts: int
    fence: int
    cancel_requested: bool
    spec: FreeForm
    result: FreeForm | None
    error_code: str | None
    error_message: str | None
    resume_reason: str | None
    cost_seconds: float
    dataset_id: UUID | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    poll_after_ms: int | None = None

    @classmethod
    def of(cls, job: Job) -> "JobView":
        """The job, with a hint of when polling it again can tell something new."""
        view = cls.model_validate(job)
        view.poll_after_ms = poll_after_ms(job)
        return view


def poll_after_ms(job: Job) -> int | None:
    """Milliseconds until asking again makes sense; None when the job has ended."""
    if job.finished:
        return None
    return RUNNING_POLL_MS if job.state is JobState.RUNNING else QUEUED_POLL_MS


class UploadView(FullDatasetView):
    """A dataset just uploaded, and the job that embeds it (null when it is embedded already)."""

    embed_job: JobView | None

    @classmethod
    def of(cls, dataset: Dataset, job: Job | None) -> "UploadView":
        """Both halves in one body."""
        shown = FullDatasetView.model_validate(dataset).model_dump()
        return cls(**shown, embed_job=None if job is None else JobView.of(job))


class RecordView(View):
    """One line of a job's history."""

    stage: str
    step: int
    values: FreeForm


class EventView(View):
    """One move of a job."""

    seq: int
    at: datetime
    from_state: JobState | None
    to_state: JobState
    fence: int
    actor: str
    reason: str


class Listed(View, Generic[Item]):
    """A list that always comes whole."""

    items: list[Item]


class SearchView(View):
    """A search, and its result once its job has succeeded."""

    id: UUID
    dataset_id: UUID
    job_id: UUID
    spec: FreeForm
    ranking: RankingView | None
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
    def of(cls, model: Model, artifact: Artifact) -> "ArtifactView":
        """The file, with the address it is downloaded from."""
        href = f"/v1/models/{model.id}/artifacts/{artifact.name}"
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
    genotype: FreeForm
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
