"""Searches that have ended, with all that is kept of them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import update
from sqlalchemy.orm import Session

from core.db.job_tables import JobRecordRow, JobRow
from core.db.result_tables import SearchRow
from core.db.sessions import Sessions
from core.domain.jobs import Job, JobKind, JobRecord, QueueName
from core.domain.searches import Artifact, SearchId, SearchSpec, Training
from core.domain.supernets import SupernetId
from core.ports import ObjectStore
from core.services import jobs, models, wire
from tests.unit.services.samples import dataset, queued, sha256_of

BEGAN = datetime(2026, 3, 2, 9, 30, 0, 125_000, tzinfo=UTC)
GENOTYPE = {"normal": [], "reduction": []}
LABELS = {"team": "vision", "cost/centre": "7", "odd//name": "x"}
SOURCE = SupernetId(uuid4())
FILES = {"README.md": b"# A model\n", "model.onnx": bytes(range(256)) * 9}
METRICS: dict[str, Any] = {
    "retrained": {"test_accuracy": 0.9, "test_loss": 0.25, "valid_accuracy": 0.875, "history": []},
    "parameters": 9307,
    "flops": 566_976,
    "selection": {"trade_offs": [{"genotype": GENOTYPE, "accuracy": 1.0, "latency": 0.002}]},
    "seconds": {"search": 15.5, "retrain": 4.25},
    "machine": {"device": "NVIDIA H100", "processes": 2},
}


def waiting(session: Session, name: str = "digits", **changes: Any) -> tuple[SearchId, Job]:
    """A search that nobody has begun."""
    of = dataset(session, name)
    terms: dict[str, Any] = {"labels": LABELS, "training": Training(epochs=2), **changes}
    spec = wire.dump(SearchSpec(of.id, "oriented-energy@1", **terms))
    job = queued(session, kind=JobKind.SEARCH, spec=spec, dataset_id=of.id)
    row = SearchRow(dataset_id=of.id, job_id=job.id, spec=spec)
    session.add(row)
    session.flush()
    return SearchId(row.id), job


def begun(session: Session, name: str = "digits", *, epochs: int = 2) -> tuple[SearchId, Job]:
    """A search that has done some epochs, a second each."""
    search_id, _ = waiting(session, name)
    job = jobs.claim(session, queue=QueueName.GPU, owner="worker-1", lease_seconds=60)
    assert job is not None
    for stage in ("search:0", "retrain"):
        told = [_epoch(stage, step) for step in range(epochs)]
        jobs.add_records(session, job.id, job.fence, told)
        for step in range(epochs):
            line = (JobRecordRow.job_id == job.id, JobRecordRow.stage == stage)
            at = BEGAN + timedelta(seconds=step)
            session.execute(
                update(JobRecordRow).where(*line, JobRecordRow.step == step).values(at=at)
            )
    start = {"resolution": 16, "batch_size": 64, "supernet_id": str(SOURCE)}
    told_of = {"supernet_name": "zoo", "supernet_sha256": sha256_of("zoo"), "dataset_name": None}
    session.execute(
        update(SearchRow).where(SearchRow.id == search_id).values(start=start | told_of)
    )
    session.execute(update(JobRow).where(JobRow.id == job.id).values(cost_seconds=20.5))
    return search_id, job


def succeeded(
    sessions: Sessions, store: ObjectStore | None, folder: Path, name: str = "digits", **more: int
) -> SearchId:
    """A search with a model, whose files are in the store."""
    kept = []
    for file, data in FILES.items():
        (folder / file).write_bytes(data)
        key = f"default/jobs/{name}/{file}"
        if store is not None:
            store.put(key, folder / file)
        kept.append(Artifact(file, key, sha256_of(file), len(data), "application/octet-stream"))
    with sessions.begin() as session:
        search_id, job = begun(session, name, **more)
        models.register(
            session,
            search_id=search_id,
            dataset_id=dataset(session, name).id,
            genotype=GENOTYPE,
            metrics=METRICS,
            artifacts=kept,
            manifest_key="m",
            manifest_sha256=sha256_of("m"),
        )
        jobs.finish(session, job.id, job.fence, {"search_id": str(search_id)})
    return search_id


def failed(sessions: Sessions, name: str = "digits") -> SearchId:
    """A search whose numbers went beyond all bounds."""
    with sessions.begin() as session:
        search_id, job = begun(session, name)
        jobs.fail(session, job.id, job.fence, "diverged", "The loss is not a number.")
    return search_id


def cancelled(sessions: Sessions, name: str = "digits") -> SearchId:
    """A search that somebody cancelled before anybody began it."""
    with sessions.begin() as session:
        search_id, job = waiting(session, name)
        jobs.cancel(session, job.id)
    return search_id


def _epoch(stage: str, step: int) -> JobRecord:
    values = {"epoch": step, "train_loss": 1 / (step + 1), "valid_accuracy": step / 4}
    return JobRecord(stage, step, {**values, "stopped": None, "alphas_normal": [[0.5]]})
