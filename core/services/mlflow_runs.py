"""What MLflow is told of searches, and of which it has not been told yet.

A search that has ended never changes, and neither does what its job recorded: nothing has to be
written when it ends for it to be told later, whenever that is. Its row says whether it was.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from posixpath import normpath
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.orm import Session

from core.db.clock import now
from core.db.dataset_tables import DatasetRow
from core.db.identity_tables import ProjectRow
from core.db.job_tables import JobRecordRow, JobRow
from core.db.result_tables import ModelRow, SearchRow
from core.domain.accuracy import wilson
from core.domain.jobs import TERMINAL
from core.domain.mlflow import SEARCH_TAG, STATUS, Metric, Run, next_delay
from core.domain.searches import SearchId

# What every version of MLflow takes.
LONGEST_PARAM, LONGEST_TAG = 500, 5_000
STAGES: Final = ("search:", "retrain")  # whose lines are epochs
RETRAINED: Final = ("test_accuracy", "test_loss", "valid_accuracy")
NO_PARAMS: Final = {"dataset_id", "labels", "supernet_id"}  # of the request: these are tags


@dataclass(frozen=True, slots=True)
class Standing:
    """How many ended searches MLflow has not been told of, and for how long the oldest waits."""

    waiting: int
    oldest_seconds: float


def standing(session: Session) -> Standing:
    """How it stands now."""
    ended = func.min(JobRow.finished_at)
    statement = select(func.count(SearchRow.id), ended, now()).select_from(SearchRow)
    count, oldest, at = session.execute(statement.join(JobRow).where(*_untold())).one()
    return Standing(count, 0.0 if oldest is None else (at - oldest).total_seconds())


def claim(session: Session, *, lease_seconds: float) -> SearchId | None:
    """The oldest search that is to be told now; it is again when the lease ends, unless `told` or
    `failed` say otherwise before."""
    due = or_(SearchRow.mlflow_due_at.is_(None), SearchRow.mlflow_due_at <= now())
    oldest = select(SearchRow).join(JobRow).where(*_untold(), due).order_by(SearchRow.created_at)
    locked = oldest.limit(1).with_for_update(of=SearchRow, skip_locked=True)
    row = session.scalars(locked).first()
    if row is None:
        return None
    row.mlflow_due_at = now(lease_seconds)
    session.flush()
    return SearchId(row.id)


def told(session: Session, search_id: UUID, run_id: str) -> None:
    """This run tells all of it."""
    session.execute(_of(search_id).values(mlflow_run_id=run_id, mlflow_due_at=None))


def failed(session: Session, search_id: UUID, *, luck: float) -> None:
    """An attempt has come to nothing: another one later."""
    row = session.get_one(SearchRow, search_id, with_for_update=True)
    row.mlflow_failures += 1
    row.mlflow_due_at = now(next_delay(row.mlflow_failures, luck=luck))


def read(session: Session, search_id: UUID, *, links_to: str = "") -> Run:
    """What there is to tell of a search that has ended."""
    search = session.get_one(SearchRow, search_id)
    job = session.get_one(JobRow, search.job_id)
    dataset = session.get_one(DatasetRow, search.dataset_id)
    project = session.get_one(ProjectRow, search.project_id)
    model = session.scalars(select(ModelRow).where(ModelRow.search_id == search_id)).first()
    if job.finished_at is None:
        raise ValueError(f"search {search_id} has not ended")
    tags = {
        **_labels(search.spec),
        "mlflow.source.name": "headstart",
        "mlflow.source.type": "JOB",
        "mlflow.user": project.name,
        SEARCH_TAG: str(search.id),
        "headstart.version": _version(),
        "headstart.project": project.name,
        "headstart.job_id": str(job.id),
        "headstart.dataset": dataset.name,
        "headstart.dataset_id": str(dataset.id),
        "headstart.dataset_sha256": dataset.sha256,
        "headstart.policy": search.spec.get("policy", ""),
        "headstart.attempts": str(job.attempt),
        "headstart.link": links_to + (f"/models/{model.id}" if model else f"/jobs/{job.id}"),
        **_start(search.start or {}),
        **({} if model is None else {"headstart.model_id": str(model.id)}),
        **_error(job),
    }
    metrics = list(_epochs(session, job.id))
    metrics += _figures(job, model, sum(dataset.test_counts), job.finished_at)
    return Run(
        search_id=SearchId(search.id),
        name=f"{dataset.name} {str(search.id)[:8]}",
        status=STATUS[job.state],
        started_at=job.started_at or job.finished_at,  # one that never ran was cancelled waiting
        ended_at=job.finished_at,
        tags={name: value[:LONGEST_TAG] for name, value in tags.items() if value},
        params=_params(search.spec, search.start or {}),
        metrics=tuple(metrics),
        artifacts=() if model is None else model.artifacts,
    )


def _untold() -> tuple[ColumnElement[bool], ...]:
    return SearchRow.mlflow_run_id.is_(None), JobRow.state.in_(TERMINAL)


def _of(search_id: UUID) -> Any:
    return update(SearchRow).where(SearchRow.id == search_id)


def _version() -> str:
    try:
        return version("headstart-nas")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "0"


def _labels(spec: Mapping[str, Any]) -> dict[str, str]:
    return {_key(f"label.{name}"): value for name, value in spec.get("labels", {}).items()}


def _key(name: str) -> str:
    """Names may be paths for MLflow, if no other name is the same path."""
    return name if normpath(name) == name else name.replace("/", ".")


def _start(start: Mapping[str, Any]) -> dict[str, str]:
    """The supernet that it began from, if it did not begin cold."""
    named = {
        "supernet_id": start.get("supernet_id"),
        "supernet": start.get("supernet_name"),
        "supernet_sha256": start.get("supernet_sha256"),
        "supernet_dataset": start.get("dataset_name"),
    }
    return {f"headstart.{name}": value for name, value in named.items() if value}


def _error(job: JobRow) -> dict[str, str]:
    said = {"error_code": job.error_code, "error": job.error_message}
    return {f"headstart.{name}": value for name, value in said.items() if value}


def _params(spec: Mapping[str, Any], start: Mapping[str, Any]) -> dict[str, str]:
    """What was asked for, and what the start made of it."""
    asked = {name: value for name, value in spec.items() if name not in NO_PARAMS}
    made = ("resolution", "batch_size", "retrain_batch_size", "learning_rates")
    settled = {f"start.{name}": start[name] for name in made if name in start}
    flat = {**dict(_flat("", asked)), **settled}
    return {name: _worded(value) for name, value in flat.items() if value is not None}


def _flat(place: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{place}{name}.", value)
        else:
            yield f"{place}{name}", value


def _worded(value: Any) -> str:
    return (value if isinstance(value, str) else json.dumps(value))[:LONGEST_PARAM]


def _epochs(session: Session, job_id: UUID) -> Iterator[Metric]:
    lines = select(JobRecordRow).where(JobRecordRow.job_id == job_id)
    for row in session.scalars(lines.order_by(JobRecordRow.stage, JobRecordRow.step)):
        if row.stage.startswith(STAGES):
            stage = row.stage.replace(":", "_")
            for name, value in _numbers(row.values):
                if name != "epoch":
                    yield Metric(f"{stage}/{name}", value, row.at, row.step)


def _figures(job: JobRow, model: ModelRow | None, n_test: int, at: datetime) -> Iterator[Metric]:
    """What came of it all, when it was over."""
    found: dict[str, Any] = {"seconds": job.cost_seconds}
    if model is not None:
        found |= _of_model(model.metrics, model.genotype, n_test)
        machine = model.metrics.get("machine", {})
        if machine.get("device", "cpu") != "cpu":
            found["gpu_seconds"] = job.cost_seconds * machine.get("processes", 1)
    for name, value in _numbers(found):
        yield Metric(name, value, at)


def _of_model(
    metrics: Mapping[str, Any], genotype: Mapping[str, Any], n_test: int
) -> dict[str, Any]:
    found = {name: metrics["retrained"].get(name) for name in RETRAINED}
    found["parameters"] = metrics.get("parameters")
    found["macs"] = metrics.get("flops")  # which are multiply-adds
    if (accuracy := found["test_accuracy"]) is not None:
        found["test_accuracy_low"], found["test_accuracy_high"] = wilson(accuracy, n_test)
    # Measured where it was an objective alone.
    for each in metrics.get("selection", {}).get("trade_offs", ()):
        if each["genotype"] == genotype:
            found["latency_seconds"] = each.get("latency")
    stages = metrics.get("seconds", {}).items()
    return found | {f"seconds/{name}": value for name, value in stages}


def _numbers(values: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in values.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield name, float(value)
