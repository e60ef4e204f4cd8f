"""Rows as the services would have left them, made through the services."""

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import update

from core.bootstrap import Container
from core.db.result_tables import SearchRow
from core.domain.datasets import (
    Dataset,
    DatasetReport,
    DistanceMap,
    ImagePair,
    MapPoint,
    Measure,
    Nearness,
    Neighbour,
    Problem,
    Ranking,
    Verdict,
)
from core.domain.jobs import QUEUE_OF, Job, JobKind, JobRecord
from core.domain.prunings import Architecture, PruneSpec, Pruning
from core.domain.searches import (
    Artifact,
    Model,
    PretrainSpec,
    Search,
    SearchSpec,
    StartPolicy,
)
from core.domain.supernets import Supernet, lineage
from core.domain.work import PruneOutcome
from core.services import datasets, jobs, models, prunings, searches, supernets, work

EMBEDDER = "default"
GENOTYPE: Mapping[str, Any] = {
    cell: [
        [
            ["sep_conv_3x3", node],
            ["skip_connect", node + 1],
        ]
        for node in range(4)
    ]
    for cell in ("normal", "reduction")
}
HISTORY = [
    {
        "epoch": epoch,
        "train_accuracy": 0.5 + epoch / 20,
        "valid_accuracy": 0.4 + epoch / 20,
        "train_loss": 1 / (epoch + 1),
        "valid_loss": 2 / (epoch + 1),
        "seconds": 1.5,
    }
    for epoch in range(6)
]
METRICS: Mapping[str, Any] = {
    "supernet": {"test_accuracy": 0.93, "valid_accuracy": 0.92},
    "discretised": {"test_accuracy": 0.61},
    "retrained": {"test_accuracy": 0.95, "confusion": [[9, 1], [0, 10]]},
    "arms": [{"learning_rate": 0.025, "seconds": 12.0, "history": HISTORY}],
    "best_arm": 0,
    "parameters": 48_211,
    "flops": 3_120_000,
    "seconds": {"retrain": 4.0},
}

FILES: Mapping[str, bytes] = {
    "model.onnx": b"onnx" * 1_000,
    "genotype.json": json.dumps(GENOTYPE).encode(),
}

MASK: Mapping[str, Any] = {"body.conv1": [1, 0]}
LEFT: Mapping[str, Any] = {
    "kept": 0.25,
    "parameters": 100,
    "flops": 900,
    "test_accuracy": 0.9,
    "history": HISTORY,
}
PRUNED: Mapping[str, Any] = {
    **LEFT,
    "architecture": "resnet18",
    "full": {"parameters": 400, "flops": 4_000},
    "controls": {"random": {**LEFT, "test_accuracy": 0.8}},
    "groups": [{"name": "body.conv1", "channels": 4, "kept": 1}],
    "blocks": [{"name": "body.layer1.0", "kept": False}],
    "search": {"history": [{**each, "cost": 0.6, "kept": 0.5} for each in HISTORY]},
    "test_images": 10,
}

TORN = Problem("error", "bad_image", "cat/7.png", "The image is cut short.")


def dataset(
    container: Container,
    name: str = "animals",
    *,
    classes: int = 2,
    statistics_only: bool = False,
    problems: tuple[Problem, ...] = (TORN,),
) -> Dataset:
    """A registered dataset (its images are not in the store)."""
    report = DatasetReport(
        problems=problems,
        images_seen=20 * classes + 1,
        images_kept=20 * classes,
        exact_duplicates=0,
        split="stratified",
        split_seed=0,
        modes={"L": 20 * classes},
        sizes={"16x16": 20 * classes},
    )
    with container.sessions.begin() as session:
        made, _ = datasets.register(
            session,
            sha256=hashlib.sha256(name.encode()).hexdigest(),
            name=name,
            classes=tuple(f"class {index}" for index in range(classes)),
            train_counts=(15,) * classes,
            test_counts=(5,) * classes,
            channels=1,
            report=report,
            statistics_only=statistics_only,
        )
    return made


def queued(container: Container, target: Dataset, kind: JobKind = JobKind.SEARCH) -> Job:
    """A job that waits."""
    with container.sessions.begin() as session:
        if kind is JobKind.PRETRAIN:
            return searches.submit_pretrain(session, PretrainSpec(target.id, "source", EMBEDDER))
        return searches.submit_search(session, SearchSpec(target.id, EMBEDDER))[1]


def running(container: Container, target: Dataset, kind: JobKind = JobKind.SEARCH) -> Job:
    """A job that a worker holds."""
    queued(container, target, kind)
    with container.sessions.begin() as session:
        job = jobs.claim(session, queue=QUEUE_OF[kind], owner="test", lease_seconds=600)
    assert job is not None
    return job


def recorded(container: Container, job: Job, *, stage: str = "search:0") -> None:
    """The job's history so far."""
    lines = [JobRecord(stage, int(row["epoch"]), row) for row in HISTORY]
    with container.sessions.begin() as session:
        jobs.add_records(session, job.id, job.fence, lines)


def failed(container: Container, target: Dataset, code: str, message: str) -> Job:
    """A job that ended badly."""
    job = running(container, target)
    with container.sessions.begin() as session:
        return jobs.fail(session, job.id, job.fence, code, message)


def supernet(container: Container, source: Dataset) -> Supernet:
    """A registered supernet."""
    job = running(container, source, JobKind.PRETRAIN)
    with container.sessions.begin() as session:
        made, _ = supernets.register(
            session,
            name=f"{source.name} supernet",
            dataset_id=source.id,
            job_id=job.id,
            space={"channels": 4, "layers": 3, "nodes": 4},
            resolution=16,
            key="supernet",
            sha256=hashlib.sha256(job.id.bytes).hexdigest(),
            metrics={"valid_accuracy": 0.9},
            seconds=31.0,
            lineage=lineage([source]),
        )
        jobs.finish(session, job.id, job.fence, {"supernet_id": str(made.id)})
    return made


def ranking(container: Container, target: Dataset, source: Dataset, supernet_id: Any) -> Ranking:
    """A stored ranking with one neighbour."""
    neighbour = Neighbour(
        dataset_id=source.id,
        dataset_name=source.name,
        supernet_id=supernet_id,
        distance=14.2,
        interval=(13.1, 15.3),
        tied_with_nearest=True,
        features_part=9.0,
        labels_part=5.2,
        coupling=(("class 0", "a", 0.4), ("class 1", "b", 0.1)),
    )
    made = Ranking(target.id, EMBEDDER, (neighbour,), 1.5, {"seed": 0})
    with container.sessions.begin() as session:
        datasets.record_ranking(session, made)
    return made


NEAR = Verdict(Nearness.NEAR, nearest=2.0, threshold=8.5, share=0.625, references=40)
FAR = Verdict(Nearness.FAR, nearest=20.0, threshold=8.5, share=0.025, references=40)
UNKNOWN = Verdict(Nearness.UNKNOWN, nearest=2.0, threshold=None, share=None, references=4)
MEASURES = (Measure.SAMPLES, Measure.SAMPLES, Measure.CLASSES, Measure.ESTIMATE)


def evidence(
    container: Container,
    target: Dataset,
    sources: Sequence[Dataset],
    *,
    supernets: Mapping[Any, Any] | None = None,
    proven: int = 3,
    verdict: Verdict | None = NEAR,
    drawn: bool = True,
) -> Ranking:
    """A stored ranking with everything a ranking can say; only the nearest is a hub."""
    neighbours = tuple(
        _neighbour(target, source, place, (supernets or {}).get(source.id))
        for place, source in enumerate(sources)
    )
    shown = [target, *sources]
    points = tuple(
        MapPoint(each.id, each.name, 3.0 * (i % 3), 2.0 * i) for i, each in enumerate(shown)
    )
    made = Ranking(
        dataset_id=target.id,
        embedder=EMBEDDER,
        neighbours=neighbours,
        seconds=0.04,
        settings={"seed": 0},
        sources=len(sources) + 10,
        proven=proven,
        verdict=verdict,
        map=DistanceMap(points, 0.08) if drawn else None,
    )
    with container.sessions.begin() as session:
        datasets.record_ranking(session, made)
    return made


def _neighbour(target: Dataset, source: Dataset, place: int, supernet_id: Any) -> Neighbour:
    measure = MEASURES[min(place, len(MEASURES) - 1)]
    sampled = measure is Measure.SAMPLES
    coupling = [(row, column) for row in target.classes for column in source.classes]
    masses = [1.0 / 2 ** (index + 1) for index in range(len(coupling))]
    pair = ImagePair(place, 3, target.classes[0], source.classes[-1], 0.031)
    distance = 2.0 + place
    return Neighbour(
        dataset_id=source.id,
        dataset_name=source.name,
        supernet_id=supernet_id,
        distance=distance,
        interval=(distance - 0.5, distance + 0.6),
        tied_with_nearest=place < 2,
        features_part=distance**2 * 0.75,
        labels_part=distance**2 * 0.25,
        coupling=tuple((*each, mass) for each, mass in zip(coupling, masses, strict=True)),
        measure=measure,
        samples=(30, 30) if sampled else (0, 0),
        pairs=(pair,) if sampled else (),
        hub_share=0.31 if place == 0 else 0.02,
        scaled=0.5 * distance,
    )


def finished(
    container: Container,
    target: Dataset,
    *,
    policy: StartPolicy = StartPolicy.NEAREST,
    metrics: Mapping[str, Any] = METRICS,
    genotype: Mapping[str, Any] = GENOTYPE,
    ranking: Ranking | None = None,
    files: Mapping[str, bytes] = FILES,
    given: Mapping[str, Any] | None = None,
    **asked: Any,
) -> tuple[Search, Model]:
    """A search that succeeded, and its model with files in the store."""
    with container.sessions.begin() as session:
        spec = SearchSpec(target.id, EMBEDDER, policy=policy, genotype=given, **asked)
        search, _ = searches.submit_search(session, spec)
        job = jobs.claim(session, queue=QUEUE_OF[JobKind.SEARCH], owner="test", lease_seconds=600)
        assert job is not None
        assert job.id == search.job_id
        model = models.register(
            session,
            search_id=search.id,
            dataset_id=target.id,
            genotype=genotype,
            metrics=metrics,
            artifacts=[stored(container, job, name, data) for name, data in files.items()],
            manifest_key="manifest",
            manifest_sha256="0" * 64,
        )
        found = update(SearchRow).where(SearchRow.id == search.id).values(ranking=ranking)
        session.execute(found)
        jobs.finish(session, job.id, job.fence, {"model_id": str(model.id)})
    return search, model


def pruned(container: Container, target: Dataset) -> Pruning:
    """A pruning that succeeded, with its mask in the store."""
    with container.sessions.begin() as session:
        prunings.submit(session, PruneSpec(target.id, Architecture.RESNET18, share=0.25))
    return prune(container)


TAKEN: Mapping[str, Any] = {
    "controls": {"full": {**LEFT, "kept": 1.0, "parameters": 400}},
    "taken": [
        {
            "pruning_id": "0199c2f5-6a1e-7d34-9b07-c2e85f30a6d1",
            "dataset_id": "0199c2f5-6a1e-7d34-9b07-c2e85f30a6d2",
            "dataset_name": "tickets",
            "distance": 7.125,
            "interval": [6.5, 8.25],
            "weight": 1.0,
        }
    ],
}


def prune(container: Container, **changes: Any) -> Pruning:
    """What a worker would make of the next pruning."""
    with container.sessions.begin() as session:
        job = jobs.claim(session, queue=QUEUE_OF[JobKind.PRUNE], owner="test", lease_seconds=600)
    assert job is not None
    file = stored(container, job, "mask.json", json.dumps(MASK).encode())
    weights = stored(container, job, "model.safetensors", b"weights")
    metrics = {**PRUNED, **changes}
    outcome = PruneOutcome(MASK, metrics, (file, weights), file.key, file.sha256)
    with container.sessions.begin() as session:
        work.record(session, job, outcome)
        return prunings.by_job(session, job.id)


def stored(container: Container, job: Job, name: str, data: bytes) -> Artifact:
    """A file in the store."""
    key = f"default/jobs/{job.id}/a1/{name}"
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / name
        source.write_bytes(data)
        container.store.put(key, source)
    media = "application/octet-stream"
    return Artifact(name, key, hashlib.sha256(data).hexdigest(), len(data), media)
