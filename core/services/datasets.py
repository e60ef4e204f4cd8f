"""Datasets and what was measured on them. The same content is the same dataset."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, select
from sqlalchemy import delete as sql_delete
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, undefer

from core.db import vectors
from core.db.clock import now
from core.db.dataset_tables import DatasetRow, EmbeddingRow, RankingRow
from core.db.scope import project_of
from core.db.upserts import insert_or_keep
from core.domain.datasets import Dataset, DatasetId, DatasetReport, Embedding, Ranking
from core.domain.work import IngestOutcome
from core.errors import Conflict, Detail, Gone, InvalidInput, NotFound
from core.services import families, job_logs, jobs, outbox, paging, tombstones
from core.services.paging import NamedOrder

SHA256 = re.compile(r"[0-9a-f]{64}")
NAME_LENGTH = 200
LICENCE_LENGTH = 200
SOURCE_LENGTH = 2_000
WHOLE = undefer(DatasetRow.report)
WIPED = DatasetReport(
    problems=(),
    images_seen=0,
    images_kept=0,
    exact_duplicates=0,
    split="none",
    split_seed=None,
    modes={},
    sizes={},
)


def register(
    session: Session,
    *,
    sha256: str,
    name: str,
    classes: Sequence[str],
    train_counts: Sequence[int],
    test_counts: Sequence[int],
    channels: int,
    report: DatasetReport,
    statistics_only: bool = False,
    licence: str | None = None,
    source: str | None = None,
    parent_id: UUID | None = None,
    originals_sha256: str | None = None,
    size_bytes: int = 0,
) -> tuple[Dataset, bool]:
    """The dataset of this content, and whether it is new.

    Known content keeps the name, the licence and the place in its family that it had first. A
    deleted dataset comes back under its old id, as new, when the same content does: its objects
    may just have been on their way out, so the caller looks, in the same transaction, whether
    they are there (`core.execution.deletion`). With a `parent_id` it is the next version in that
    family. Raises InvalidInput, NotFound and Gone.
    """
    if not SHA256.fullmatch(sha256) or not SHA256.fullmatch(originals_sha256 or sha256):
        raise ValueError("sha256 is 64 lower-case hexadecimal digits")
    if not len(classes) == len(train_counts) == len(test_counts):
        raise ValueError("one train count and one test count for each class")
    values = {
        "sha256": sha256,
        "name": _checked(name),
        "classes": tuple(classes),
        "train_counts": tuple(train_counts),
        "test_counts": tuple(test_counts),
        "channels": channels,
        "report": report,
        "statistics_only": statistics_only,
        "licence": _told("licence", licence, LICENCE_LENGTH),
        "source": _told("source", source, SOURCE_LENGTH),
        "originals_sha256": originals_sha256,
        "size_bytes": size_bytes,
    }
    if parent_id is not None:
        get(session, parent_id, report=False)
    dataset, created = _registered(session, values, parent_id)
    if created:
        outbox.dataset_registered(session, dataset.id)
    return dataset, created


def take_in(
    session: Session,
    made: IngestOutcome,
    *,
    name: str,
    licence: str | None = None,
    source: str | None = None,
    parent_id: UUID | None = None,
) -> tuple[Dataset, bool]:
    """Register what intake has made and stored. Raises as `register` does."""
    return register(
        session,
        sha256=made.sha256,
        name=name,
        classes=made.classes,
        train_counts=made.train_counts,
        test_counts=made.test_counts,
        channels=made.channels,
        report=made.report,
        licence=licence,
        source=source,
        parent_id=parent_id,
        originals_sha256=made.originals_sha256,
        size_bytes=made.size_bytes,
    )


def find(session: Session, sha256: str) -> Dataset | None:
    """The dataset with this content, if it is registered and was not deleted."""
    return _found(session, DatasetRow.sha256 == sha256)


def get(session: Session, dataset_id: UUID, *, report: bool = True) -> Dataset:
    """The dataset; without its report for who has no use for it. Raises NotFound, Gone."""
    row = _row(session, dataset_id, whole=report)
    if row.deleted_at is not None:
        day = row.deleted_at.date().isoformat()
        message = (
            f"The dataset '{row.name}' was deleted on {day}. Upload it again to have it back."
        )
        raise Gone(message, code="dataset_deleted")
    return row.to_domain(report=report)


def report(session: Session, dataset_id: UUID) -> DatasetReport:
    """What intake saw of the dataset. Raises NotFound, Gone."""
    get(session, dataset_id, report=False)
    return _row(session, dataset_id, whole=True).report


def remembered(session: Session, dataset_id: UUID) -> Dataset:
    """The dataset without its report, deleted or not: what was made of it goes on naming it.

    Raises NotFound.
    """
    return _row(session, dataset_id).to_domain(report=False)


def versions(session: Session, dataset_id: UUID) -> tuple[Dataset, ...]:
    """The dataset's family, the first version first, without reports; deleted ones keep their
    place. Raises NotFound, Gone."""
    get(session, dataset_id, report=False)
    family = DatasetRow.id.in_(families.members(session, dataset_id))
    rows = session.scalars(select(DatasetRow).where(family).order_by(DatasetRow.version))
    return tuple(row.to_domain(report=False) for row in rows)


def delete(session: Session, dataset_id: UUID) -> str:
    """Forget what is in the dataset, how it was embedded and what it is near to; its checksum.

    Its row stays as the tombstone, for what was made of it names it: its id, name, counts, licence
    and versions. The objects, all in `core.domain.keys.dataset(sha256)`, are the caller's to
    delete after the commit. Raises NotFound, Gone, and Conflict (`dataset_in_use`) while jobs that
    name it have not ended.
    """
    row = _row(session, dataset_id, lock=True)
    dataset = get(session, dataset_id, report=False)
    if waiting := jobs.unfinished(session, naming=dataset_id):
        message = (
            f"{len(waiting)} unfinished jobs need '{dataset.name}', {waiting[0]} among them: "
            "wait for them, or cancel them first."
        )
        raise Conflict(message, code="dataset_in_use")
    session.execute(sql_delete(EmbeddingRow).where(EmbeddingRow.dataset_id == dataset_id))
    session.execute(sql_delete(RankingRow).where(RankingRow.dataset_id == dataset_id))
    job_logs.forget(session, dataset_id)
    row.classes, row.report, row.originals_sha256, row.size_bytes = (), WIPED, None, 0
    row.deleted_at = session.scalar(select(now()))
    session.flush()
    return dataset.sha256


def with_images(session: Session, dataset_id: UUID) -> Dataset:
    """The dataset, which must have its images here. Raises NotFound, Gone, Conflict."""
    dataset = get(session, dataset_id)
    check_images(dataset)
    return dataset


def check_images(dataset: Dataset) -> None:
    """Raise Conflict (`statistics_only`) when the images stayed with their owner."""
    if dataset.statistics_only:
        message = (
            f"'{dataset.name}' was registered by its class statistics alone: its images are not "
            "here. It can be ranked, by the embedder it came with, and be a neighbour."
        )
        raise Conflict(message, code="statistics_only")


def listing(
    session: Session,
    *,
    limit: int,
    after: str | None = None,
    order: NamedOrder = "newest",
    name: str | None = None,
    deleted: bool = False,
) -> tuple[tuple[Dataset, ...], str | None]:
    """A page of datasets without their reports, of those deleted if asked, and the token of the
    next. Raises InvalidInput."""
    gone = DatasetRow.deleted_at
    statement = select(DatasetRow).where(gone.is_not(None) if deleted else gone.is_(None))
    if name is not None:
        statement = statement.where(DatasetRow.name == name)
    by = paging.sorted_by(DatasetRow, order)
    rows, token = paging.page(session, statement, by=by, limit=limit, after=after, order=order)
    return tuple(row[0].to_domain(report=False) for row in rows), token


def called(session: Session, ids: Collection[UUID]) -> dict[DatasetId, str]:
    """What each of these is called, deleted ones too."""
    named = select(DatasetRow.id, DatasetRow.name).where(DatasetRow.id.in_(ids))
    return {DatasetId(each): name for each, name in session.execute(named)}


def classes_shown(session: Session, ids: Collection[UUID]) -> dict[DatasetId, tuple[str, ...]]:
    """The classes of each of these whose images are here to be shown."""
    here = DatasetRow.deleted_at.is_(None), DatasetRow.statistics_only.is_(False)
    wanted = select(DatasetRow.id, DatasetRow.classes).where(DatasetRow.id.in_(ids), *here)
    return {DatasetId(each): tuple(classes) for each, classes in session.execute(wanted)}


def embedding(session: Session, dataset_id: UUID, embedder: str) -> Embedding | None:
    """The dataset as this embedder version sees it, once that has been computed."""
    row = session.get(EmbeddingRow, (dataset_id, embedder))
    return None if row is None else row.to_domain()


def record_embedding(session: Session, embedding: Embedding) -> Embedding:
    """Keep an embedding; the first one recorded stays, as its object in the store does."""
    row = {name: getattr(embedding, name) for name in Embedding.__slots__}
    insert_or_keep(session, EmbeddingRow, [row])
    kept = session.get_one(EmbeddingRow, (embedding.dataset_id, embedding.embedder))
    vectors.keep(session, kept)
    return kept.to_domain()


def ranking(session: Session, dataset_id: UUID, *, embedder: str | None = None) -> Ranking | None:
    """The newest ranking of the dataset's sources, if it has one; of sources that were deleted
    since without what is in them."""
    statement = select(RankingRow).where(RankingRow.dataset_id == dataset_id)
    if embedder is not None:
        statement = statement.where(RankingRow.embedder == embedder)
    row = session.scalars(statement.order_by(RankingRow.number.desc()).limit(1)).first()
    return tombstones.shown(session, [None if row is None else row.to_domain()])[0]


def record_ranking(session: Session, ranking: Ranking) -> None:
    """Keep a ranking; earlier ones stay as they were."""
    row = {name: getattr(ranking, name) for name in Ranking.__slots__}
    session.add(RankingRow(**row))
    session.flush()


def check_origin(*, licence: str | None, source: str | None) -> None:
    """Raise InvalidInput unless the two can be kept as they are given."""
    _told("licence", licence, LICENCE_LENGTH)
    _told("source", source, SOURCE_LENGTH)


def _checked(name: str) -> str:
    name = name.strip()
    if not name or len(name) > NAME_LENGTH or not name.isprintable():
        message = f"Give a name of 1 to {NAME_LENGTH} printable characters."
        raise InvalidInput(message, details=[Detail("name", "invalid", message)])
    return name


def _told(place: str, value: str | None, most: int) -> str | None:
    value = (value or "").strip()
    if len(value) > most or not value.isprintable():
        message = f"Give a {place} of at most {most} printable characters, or none."
        raise InvalidInput(message, details=[Detail(place, "invalid", message)])
    return value or None


def _row(
    session: Session, dataset_id: UUID, *, whole: bool = False, lock: bool = False
) -> DatasetRow:
    # Locked, it must be read anew: what this session saw of it before may have changed.
    terms: dict[str, Any] = {"with_for_update": lock or None, "populate_existing": lock}
    row = session.get(DatasetRow, dataset_id, options=[WHOLE] if whole else [], **terms)
    if row is None:
        raise NotFound(f"There is no dataset {dataset_id}. Upload it first.")
    return row


def _found(session: Session, *which: ColumnElement[bool]) -> Dataset | None:
    there = *which, DatasetRow.deleted_at.is_(None)
    row = session.scalars(select(DatasetRow).where(*there).options(WHOLE)).first()
    return None if row is None else row.to_domain(report=True)


def _registered(
    session: Session, values: Mapping[str, Any], parent_id: UUID | None
) -> tuple[Dataset, bool]:
    # A public dataset of this content is another one, which its own project may delete.
    own = DatasetRow.sha256 == values["sha256"], DatasetRow.project_id == project_of(session)
    if (known := _found(session, *own)) is not None:
        return known, False
    if (row := _revived(session, values, own)) is not None:
        return row.to_domain(report=True), True
    version = 1 if parent_id is None else families.next_version(session, parent_id)
    row = DatasetRow(**values, parent_id=parent_id, version=version)
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError:
        # Somebody else's identical upload won the race; any other violation finds nothing.
        known = _found(session, *own)
        if known is None:
            raise
        return known, False
    session.refresh(row)
    return row.to_domain(report=True), True


def _revived(
    session: Session, values: Mapping[str, Any], own: Sequence[ColumnElement[bool]]
) -> DatasetRow | None:
    """The tombstone of this content, made whole; its family and its licence outlived it."""
    dead = *own, DatasetRow.deleted_at.is_not(None)
    statement = select(DatasetRow).where(*dead).with_for_update()
    options = {"populate_existing": True}
    row = session.scalars(statement, execution_options=options).first()
    if row is None:
        return None
    for name, value in values.items():
        setattr(row, name, getattr(row, name) if value is None else value)
    row.created_at, row.deleted_at = session.scalar(select(now())), None
    session.flush()
    session.refresh(row)
    return row
