"""What the rows say is in the store: for whoever compares."""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db.dataset_tables import DatasetRow, EmbeddingRow
from core.db.job_tables import CheckpointRow, JobRow
from core.db.result_tables import ModelRow, PruningRow, SupernetRow
from core.domain import keys
from core.domain.identity import ProjectId
from core.domain.jobs import TERMINAL
from core.domain.searches import Artifact


@dataclass(frozen=True, slots=True)
class Named:
    """An object that a row names; `sha256` is None where the row does not hold its checksum."""

    owner: str
    key: str
    sha256: str | None
    # Of a model's manifest: what it must list.
    lists: tuple[Artifact, ...] | None = None


def named(session: Session) -> Iterator[Named]:
    """Every object that must be there, table by table. Replaced checkpoints need not be."""
    there = DatasetRow.deleted_at.is_(None), ~DatasetRow.statistics_only
    for row in session.scalars(select(DatasetRow).where(*there)):
        originals = keys.originals(ProjectId(row.project_id), row.sha256)
        yield Named(f"dataset {row.id}", originals, row.originals_sha256)
    for seen in session.scalars(select(EmbeddingRow)):
        yield Named(f"embedding of dataset {seen.dataset_id}", seen.key, seen.sha256)
    for each in session.scalars(select(SupernetRow)):
        yield Named(f"supernet {each.id}", each.key, each.sha256)
    for model in session.scalars(select(ModelRow)):
        yield from _files(f"model {model.id}", model)
    for pruning in session.scalars(select(PruningRow).where(PruningRow.manifest_key.is_not(None))):
        yield from _files(f"pruning {pruning.id}", pruning)
    live = select(CheckpointRow).join(JobRow, JobRow.id == CheckpointRow.job_id)
    for saved in session.scalars(live.where(JobRow.state.not_in(TERMINAL))):
        yield Named(f"checkpoint of job {saved.job_id}", saved.key, saved.sha256)


def _files(owner: str, row: ModelRow | PruningRow) -> Iterator[Named]:
    yield Named(owner, row.manifest_key or "", row.manifest_sha256, row.artifacts)
    for artifact in row.artifacts:
        yield Named(owner, artifact.key, artifact.sha256)
