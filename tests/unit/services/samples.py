"""Rows to begin a test with."""

import hashlib
from dataclasses import replace
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.db.sessions import Sessions
from core.domain.datasets import Dataset, DatasetReport, Embedding, Neighbour, Problem, Ranking
from core.domain.jobs import Job, JobId, JobKind, QueueName
from core.domain.searches import Artifact
from core.services import datasets, jobs

LEASE = 60.0
EMBEDDER = "default-1"
REPORT = DatasetReport(
    problems=(Problem("warning", "truncated", "a/1.png", "The file ends early."),),
    images_seen=5,
    images_kept=4,
    exact_duplicates=0,
    split="stratified",
    split_seed=0,
    modes={"L": 4},
    sizes={"8x8": 4},
)


def sha256_of(name: str) -> str:
    """A content hash that differs by name."""
    return hashlib.sha256(name.encode()).hexdigest()


def dataset(session: Session, name: str = "digits") -> Dataset:
    """A registered dataset."""
    return datasets.register(
        session,
        sha256=sha256_of(name),
        name=name,
        classes=("a", "b"),
        train_counts=(3, 4),
        test_counts=(1, 2),
        channels=1,
        report=REPORT,
    )[0]


def bare(of: Dataset) -> Dataset:
    """The dataset as jobs are told of it: without its report."""
    return replace(of, report=None)


def embedding(of: Dataset, embedder: str = EMBEDDER) -> Embedding:
    """What an embed job might hand back."""
    return Embedding(of.id, embedder, f"{of.sha256}/{embedder}", sha256_of(embedder), 64, 7, 0.5)


def ranking(of: Dataset, *sources: Dataset) -> Ranking:
    """What a rank job might hand back."""
    found = [
        Neighbour(
            dataset_id=source.id,
            dataset_name=source.name,
            supernet_id=None,
            distance=float(place),
            interval=(place - 0.5, place + 0.5),
            tied_with_nearest=place == 0,
            features_part=0.25,
            labels_part=0.75,
            coupling=(("a", "b", 0.5),),
        )
        for place, source in enumerate(sources)
    ]
    return Ranking(of.id, EMBEDDER, tuple(found), 1.5, {"samples": 100})


def artifact(name: str = "model.onnx") -> Artifact:
    """One file of a model."""
    return Artifact(name, f"key/{name}", sha256_of(name), 12, "application/octet-stream")


def queued(session: Session, **changes: Any) -> Job:
    """A job that waits."""
    terms: dict[str, Any] = {"kind": JobKind.EMBED, "spec": {"n": 1}, "dataset_id": None}
    return jobs.submit(session, **{**terms, **changes})


def claimed(session: Session, owner: str = "worker-1", lease: float = LEASE) -> Job:
    """The next job, taken."""
    job = jobs.claim(session, queue=QueueName.CPU, owner=owner, lease_seconds=lease)
    assert job is not None
    return job


def running(sessions: Sessions, **changes: Any) -> Job:
    """A job that was submitted and claimed."""
    with sessions.begin() as session:
        queued(session, **changes)
        return claimed(session)


def expire(session: Session, job_id: JobId) -> None:
    """Let the lease run out now, without waiting for it."""
    past = {"postgresql": "now() - interval '1 second'", "sqlite": "'2000-01-01 00:00:00.000'"}
    when = past[session.get_bind().dialect.name]
    value = job_id if session.get_bind().dialect.name == "postgresql" else job_id.hex
    session.execute(text(f"UPDATE jobs SET lease_until = {when} WHERE id = :id"), {"id": value})
