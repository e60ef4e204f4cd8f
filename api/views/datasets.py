"""Datasets as the API shows them."""

from datetime import datetime
from uuid import UUID

from pydantic import computed_field

from api.views.jobs import JobView
from api.views.shapes import View
from core.data import advice
from core.domain.datasets import Dataset
from core.domain.jobs import Job


class FindingView(View):
    """One thing intake found in an archive."""

    severity: str
    code: str
    place: str
    message: str
    also: list[str]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def fix(self) -> str:
        """What to do about it."""
        return advice.about(self.code)


class OptionsView(View):
    """What the uploader decided."""

    seed: int
    test_share: float
    group: str | None
    unreadable_share: float | None
    label: str | None


class ReportView(View):
    """What intake saw."""

    problems: list[FindingView]
    images_seen: int
    images_kept: int
    exact_duplicates: int
    split: str
    split_seed: int | None
    modes: dict[str, int]
    sizes: dict[str, int]
    groups: int
    near_duplicates: int
    imbalance: float | None
    findings: dict[str, int]
    options: OptionsView


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
    statistics_only: bool
    licence: str | None
    source: str | None
    parent_id: UUID | None
    version: int
    size_bytes: int


class FullDatasetView(DatasetView):
    """A dataset with its intake report."""

    report: ReportView


class UploadView(FullDatasetView):
    """A dataset just uploaded, and the job that embeds it (null when it is embedded already)."""

    embed_job: JobView | None

    @classmethod
    def of(cls, dataset: Dataset, job: Job | None) -> "UploadView":
        """Both halves in one body."""
        shown = FullDatasetView.model_validate(dataset).model_dump()
        return cls(**shown, embed_job=None if job is None else JobView.of(job))
