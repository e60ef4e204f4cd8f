"""Migrations with rows in every table: down, up, and what is lost on the way is said."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import MetaData, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from core.db import schema, vectors
from core.db.clock import now
from core.db.dataset_tables import DatasetRow, EmbeddingRow, RankingRow
from core.db.identity_tables import ApiKeyRow, AuditRow, BrowserSessionRow, ProjectRow
from core.db.job_tables import CheckpointRow, IdempotencyKeyRow, JobLogRow, JobRecordRow, JobRow
from core.db.result_tables import Base, ModelRow, PruningRow, SearchRow, SupernetRow
from core.db.sessions import Sessions
from core.db.upload_tables import UploadPartRow, UploadRow
from core.db.webhook_tables import DeliveryRow, WebhookRow
from core.domain.datasets import DistanceMap, MapPoint, Nearness, Verdict
from core.domain.identity import DEFAULT, PUBLIC, Scope
from core.domain.jobs import LogLevel
from core.domain.supernets import LineageKind, lineage
from core.domain.webhooks import Attempt, DisabledReason, EventType, Fault
from core.errors import Conflict
from core.services import jobs
from tests.unit.db.test_schema import assert_agreement
from tests.unit.services.samples import (
    EMBEDDER,
    artifact,
    claimed,
    dataset,
    queued,
    ranking,
    sha256_of,
)

Content = dict[str, list[dict[str, Any]]]


def populate(opened: Sessions) -> None:
    """Something in every table, and in every column that a revision added."""
    with opened.begin() as session:
        source, target = dataset(session), dataset(session, "target")
        told = {"licence": "CC0", "source": "home", "size_bytes": 7, "version": 2}
        told |= {"parent_id": source.id, "originals_sha256": sha256_of("o")}
        session.execute(update(DatasetRow).where(DatasetRow.id == target.id).values(told))
        add_upload(session)
        add_identity(session)
        add_webhook(session)
        session.add(
            EmbeddingRow(
                dataset_id=source.id,
                embedder=EMBEDDER,
                key="k",
                sha256=sha256_of("e"),
                dimension=2,
                samples=7,
                seconds=0.5,
                centre=(0.5, -1.25),
            )
        )
        found = ranking(target, source)
        session.add(
            RankingRow(
                dataset_id=target.id,
                embedder=EMBEDDER,
                neighbours=found.neighbours,
                seconds=1.5,
                settings={"samples": 100},
                sources=3,
                proven=2,
                verdict=Verdict(Nearness.NEAR, 0.5, 0.75, 0.25, 9),
                map=DistanceMap((MapPoint(source.id, source.name, 0.5, -0.5),), 0.125),
            )
        )
        queued(session, dataset_id=source.id)
        job = claimed(session)
        at = job.created_at
        session.add_all(
            [
                JobRecordRow(
                    job_id=job.id,
                    stage="search",
                    step=1,
                    fence=job.fence,
                    values={"loss": 0.5},
                    at=at,
                ),
                JobLogRow(
                    job_id=job.id,
                    fence=job.fence,
                    number=1,
                    at=at,
                    level=LogLevel.WARNING,
                    message="slow",
                ),
                CheckpointRow(
                    job_id=job.id,
                    fence=job.fence,
                    step=1,
                    key="c",
                    sha256=sha256_of("c"),
                    size=9,
                    at=at,
                ),
            ]
        )
        jobs.finish(session, job.id, job.fence, {"done": True})
        waits = queued(session)
        session.execute(update(JobRow).where(JobRow.id == waits.id).values(parent_id=job.id))
        session.add(IdempotencyKeyRow(key="once", request_sha256=sha256_of("r"), job_id=waits.id))
        session.add(supernet("trained", source.id, job.id, lineage([source])))
        imported = lineage([source, target], kind=LineageKind.IMPORT, parents=[sha256_of("p")])
        session.add(supernet("imported", None, None, imported, 9))
        told = {"mlflow_run_id": "r", "mlflow_due_at": now(60), "mlflow_failures": 2}
        search = SearchRow(
            dataset_id=target.id,
            job_id=waits.id,
            spec={"n": 1},
            ranking=found,
            start={"warm": 1},
            **told,
        )
        session.add(search)
        session.flush()
        session.add(
            PruningRow(
                dataset_id=target.id,
                job_id=waits.id,
                spec={"n": 1},
                mask={"conv": [1, 0]},
                metrics={"kept": 0.5},
                artifacts=(artifact(),),
                manifest_key="m",
                manifest_sha256=sha256_of("m"),
            )
        )
        session.add(
            ModelRow(
                search_id=search.id,
                dataset_id=target.id,
                genotype={"cells": []},
                metrics={"accuracy": 0.5},
                artifacts=(artifact(),),
                manifest_key="m",
                manifest_sha256=sha256_of("m"),
            )
        )


def add_upload(session: Session) -> None:
    upload = UploadRow(
        name="a.zip",
        length=9,
        received=4,
        sha256=sha256_of("u"),
        busy_token="t",
        busy_until=now(60),
        expires_at=now(60),
    )
    session.add(upload)
    session.flush()
    part = {"start": 0, "size": 4, "sha256": sha256_of("p"), "key": "k"}
    session.add(UploadPartRow(upload_id=upload.id, **part))


def add_webhook(session: Session) -> None:
    told = {"url": "https://hooks.example/", "description": "", "secret": "s", "old_secret": "o"}
    off = {"enabled": False, "disabled_reason": DisabledReason.FAILING}
    moments = dict.fromkeys(("failing_since", "old_secret_until"), now(60))
    hook = WebhookRow(events=(EventType.JOB_FAILED,), **told, **off, **moments)
    session.add(hook)
    session.flush()
    tried = Attempt(datetime(2026, 3, 2, tzinfo=UTC), 0.5, None, Fault.TIMEOUT)
    sent = {"message_id": "msg_1", "event": "job.failed", "body": "{}"}
    done = {"attempt": 1, "attempts": (tried,), "finished_at": now()}
    session.add(DeliveryRow(webhook_id=hook.id, **sent, **done))


def add_identity(session: Session) -> None:
    project = ProjectRow(name="vision", active_jobs=2, stored_bytes=2**40, gpu_seconds=0.5)
    session.add(project)
    session.flush()
    told = {"name": "ci", "secret_sha256": sha256_of("s"), "scope": Scope.WRITE}
    instants = ("expires_at", "revoked_at", "last_used_at")
    moments = dict.fromkeys(instants, now(60))
    session.add(ApiKeyRow(id="Ab3dE6gH", project_id=project.id, **told, **moments))
    session.flush()
    login = {"token_sha256": sha256_of("t"), "key_id": "Ab3dE6gH", "expires_at": now(60)}
    session.add(BrowserSessionRow(**login))
    done = {"actor": "Ab3dE6gH", "action": "jobs_cancel", "target": "j", "status": 202}
    asked = {"request_id": "r", "address": "127.0.0.1"}
    session.add(AuditRow(project_id=project.id, **done, **asked))


def supernet(
    name: str, dataset_id: Any, job_id: Any, told: dict[str, Any], size: int = 0
) -> SupernetRow:
    return SupernetRow(
        name=name,
        dataset_id=dataset_id,
        job_id=job_id,
        space={"channels": 4},
        resolution=16,
        key=name,
        sha256=sha256_of(name),
        size_bytes=size,
        metrics={},
        seconds=2.5,
        lineage={**told, "training": {"seconds": 2.5}},
    )


def content(opened: Sessions) -> Content:
    """Every row of every table as the database has it, in an order that is always the same."""
    with opened.read() as session:
        reflected = MetaData()
        reflected.reflect(session.connection(), only=list(Base.metadata.tables))
        return {
            name: sorted(
                (dict(row._mapping) for row in session.connection().execute(select(table))),
                key=lambda row: [str(row[column.name]) for column in table.primary_key],
            )
            for name, table in reflected.tables.items()
        }


def without_logs(rows: Content) -> None:
    rows["job_logs"] = []


def without_runs(rows: Content) -> None:
    for row in rows["searches"]:
        row |= {"mlflow_run_id": None, "mlflow_due_at": None, "mlflow_failures": 0}


def without_prunings(rows: Content) -> None:
    rows["prunings"] = []


def without_sizes(rows: Content) -> None:
    for row in rows["supernets"]:
        row["size_bytes"] = 0


def without_webhooks(rows: Content) -> None:
    rows["webhooks"], rows["webhook_deliveries"] = [], []


def without_identity(rows: Content) -> None:
    rows["api_keys"], rows["browser_sessions"], rows["audit"] = [], [], []
    reserved = {PUBLIC.hex, DEFAULT.hex}
    rows["projects"] = [
        row for row in rows["projects"] if str(row["id"]).replace("-", "") in reserved
    ]


def without_versions(rows: Content) -> None:
    rows["uploads"], rows["upload_parts"] = [], []
    first = dict.fromkeys(("licence", "source", "parent_id", "originals_sha256"))
    for row in rows["datasets"]:
        row |= {**first, "version": 1, "size_bytes": 0}


def without_parents(rows: Content) -> None:
    rows["idempotency_keys"] = []
    for row in rows["jobs"]:
        row["parent_id"] = None


def without_imports(rows: Content) -> None:
    rows["supernets"] = [row for row in rows["supernets"] if row["job_id"] is not None]


def without_evidence(rows: Content) -> None:
    for row in rows["embeddings"]:
        row["centre"] = b""
    for row in rows["rankings"]:
        row |= {"sources": 0, "proven": 0, "verdict": None, "map": None}


# What each way down takes of all that `populate` makes, the deeper ones as well, and what it says.
SAID = "the lineage of 1 supernets is dropped"
TAKEN: list[tuple[str, Callable[[Content], None] | None, set[str]]] = [
    ("0015", without_prunings, {"1 prunings are dropped"}),
    ("0014", without_logs, set()),
    ("0013", without_runs, set()),
    ("0012", without_sizes, set()),
    ("0010", without_webhooks, {"1 webhooks are dropped"}),
    ("0009", None, set()),
    (
        "0008",
        without_identity,
        {"1 API keys are dropped", "1 entries of the audit log are dropped"},
    ),
    (
        "0007",
        without_versions,
        {"and the parent of 1 datasets are dropped", "1 uploads in pieces are dropped"},
    ),
    (
        "0006",
        without_parents,
        {"the parents of 1 jobs are dropped", "1 idempotency keys are dropped"},
    ),
    ("0005", without_imports, {SAID, "1 supernets of several datasets or of none here leave"}),
    ("0004", None, {SAID}),
    ("0002", without_evidence, {SAID, "evidence of 1 embeddings", "evidence of 1 rankings"}),
    ("0001", None, {SAID}),
]


def test_rows_outlive_every_way_down_and_up(
    empty_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    schema.migrate(empty_url)
    opened = Sessions(empty_url).within(DEFAULT)
    populate(opened)
    expected = content(opened)
    assert all(expected.values()), "a table without a row proves nothing"
    for revision, take, words in TAKEN:
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="migrations"):
            schema.downgrade(empty_url, revision=revision)
        schema.migrate(empty_url)
        if take is not None:
            take(expected)
        assert content(opened) == expected
        assert len(caplog.messages) == len(words)
        assert all(any(each in said for said in caplog.messages) for each in words)
    assert_agreement(empty_url)
    with opened.begin() as session:
        session.add(AuditRow(action="projects create"))
    for forbidden in (
        "UPDATE jobs SET stage = 'x'",
        "DELETE FROM job_events",
        "UPDATE audit SET actor = 'x'",
        "DELETE FROM audit",
    ):
        with pytest.raises(DBAPIError, match=r"cannot (change|be deleted)"), opened.begin() as s:
            s.execute(text(forbidden))
    schema.downgrade(empty_url, revision="base")
    schema.migrate(empty_url)
    left = content(opened)
    assert {row["name"] for row in left.pop("projects")} == {"public", "default"}
    assert not any(left.values())
    opened.dispose()


@pytest.mark.services
def test_vectors_come_back_with_their_centres(postgres_url: str) -> None:
    schema.migrate(postgres_url)
    opened = Sessions(postgres_url).within(DEFAULT)
    populate(opened)
    with opened.connect() as connection:
        if not vectors.ensure(connection):
            pytest.skip("this PostgreSQL has no pgvector")
        before = connection.execute(select(vectors.VECTORS)).all()
    schema.downgrade(postgres_url, revision="0003")
    schema.migrate(postgres_url)
    with opened.read() as session:
        assert session.execute(select(vectors.VECTORS)).all() == before
    assert len(before) == 1
    opened.dispose()


@pytest.mark.parametrize(
    ("revision", "mark", "code"),
    [
        ("0003", "UPDATE datasets SET statistics_only = TRUE WHERE name = 'target'",
         "statistics_only"),
        ("0006", "UPDATE jobs SET kind = 'group' WHERE state = 'queued'", "group_jobs"),
        ("0015", "UPDATE jobs SET kind = 'prune' WHERE state = 'queued'", "prune_jobs"),
        ("0007", "UPDATE datasets SET deleted_at = created_at WHERE name = 'target'",
         "deleted_datasets"),
        ("0006", "UPDATE jobs SET kind = 'ingest' WHERE state = 'queued'", "ingest_jobs"),
        ("0009", "UPDATE uploads SET project_id = (SELECT id FROM projects WHERE name = 'vision')",
         "other_projects"),
    ],
)  # fmt: skip
def test_a_shape_that_would_mistake_rows_is_refused(
    empty_url: str, revision: str, mark: str, code: str
) -> None:
    schema.migrate(empty_url)
    opened = Sessions(empty_url).within(DEFAULT)
    populate(opened)
    with opened.begin() as session:
        session.execute(text(mark))
    before = content(opened)
    with pytest.raises(Conflict, match=r"\b1\b.*: stay at 00") as caught:
        schema.downgrade(empty_url, revision=revision)
    assert caught.value.stable_code == code
    assert not schema.pending(empty_url)  # nothing of it happened, not even later revisions' part
    assert content(opened) == before
    opened.dispose()
