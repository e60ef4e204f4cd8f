"""Datasets registered by their class statistics alone: the images stay with their owner."""

from dataclasses import replace

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.data.class_statistics import ClassStatistics
from core.db.dataset_tables import EmbeddingRow
from core.domain import embedders as names
from core.domain import keys
from core.domain.datasets import Dataset, Embedding, Problem
from core.errors import Detail, InvalidInput
from core.services import datasets, embedders, specs

CHANNELS = 3  # what an embedder was shown; nothing here depends on it
WORDS = "Registered by class statistics alone: its images are not here and were not checked."
NO_IMAGES = replace(datasets.WIPED, problems=(Problem("warning", "statistics_only", "", WORDS),))


def check(session: Session, statistics: ClassStatistics) -> None:
    """Raise InvalidInput unless its embedder is one of ours and makes such features."""
    embedder = statistics.embedder
    specs.check_embedder(embedder)
    embedders.check(session, embedder)
    if names.trunk_of(embedder) is None and embedder.partition("@")[0] not in _BUILT_IN:
        raise _refused("unknown_embedder", f"There is no embedder '{embedder}'.")
    known = select(EmbeddingRow.dimension).where(EmbeddingRow.embedder == embedder).limit(1)
    dimension = session.scalars(known).first()
    if dimension not in {None, statistics.dimension}:
        message = f"'{embedder}' makes {dimension} features, not {statistics.dimension}."
        raise _refused("wrong_dimension", message)


def register(
    session: Session, statistics: ClassStatistics, *, sha256: str, name: str, size_bytes: int
) -> tuple[Dataset, bool]:
    """The dataset of these statistics, whose file is in the store, and whether it is new."""
    check(session, statistics)
    dataset, created = datasets.register(
        session,
        sha256=sha256,
        name=name,
        classes=statistics.classes,
        train_counts=statistics.counts,
        test_counts=(0,) * len(statistics.counts),
        channels=CHANNELS,
        report=NO_IMAGES,
        statistics_only=True,
        size_bytes=size_bytes,
    )
    embedding = Embedding(
        dataset_id=dataset.id,
        embedder=statistics.embedder,
        key=keys.embedding(dataset.project_id, sha256, statistics.embedder, sha256),
        sha256=sha256,
        dimension=statistics.dimension,
        samples=0,
        seconds=0.0,
        centre=statistics.centre,
    )
    datasets.record_embedding(session, embedding)
    return dataset, created


_BUILT_IN = frozenset(each.name for each in names.BUILT_IN)


def _refused(code: str, message: str) -> InvalidInput:
    details = [Detail("about.embedder", code, message)]
    return InvalidInput(message, code=code, details=details)
