"""Of which searches MLflow is to be told, when, and what."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, text, update

from core.db.clock import now
from core.db.result_tables import ModelRow, SearchRow
from core.db.sessions import Sessions
from core.domain.accuracy import wilson
from core.domain.identity import DEFAULT
from core.domain.mlflow import DELAYS, Metric, Run, next_delay
from core.domain.searches import SearchId
from core.services import jobs, mlflow_runs
from tests.fixtures.postgres import fresh_database
from tests.unit.services import ended
from tests.unit.services.ended import BEGAN
from tests.unit.services.samples import sha256_of


@pytest.fixture
def system(database_url: str) -> Iterator[Sessions]:
    """As the sender has them: of no project."""
    opened = Sessions(database_url)
    yield opened
    opened.dispose()


def claimed(system: Sessions) -> SearchId | None:
    with system.begin() as session:
        return mlflow_runs.claim(session, lease_seconds=60)


def waiting(system: Sessions) -> int:
    with system.read() as session:
        return mlflow_runs.standing(session).waiting


def make_due(system: Sessions) -> None:
    with system.begin() as session:
        session.execute(update(SearchRow).values(mlflow_due_at=now(-1)))


def read(system: Sessions, search_id: SearchId, links_to: str = "") -> Run:
    with system.read() as session:
        return mlflow_runs.read(session, search_id, links_to=links_to)


def test_what_has_ended_is_told_once_and_what_has_not_is_not(
    sessions: Sessions, system: Sessions
) -> None:
    with sessions.begin() as session:
        running, job = ended.begun(session)
    assert (waiting(system), claimed(system)) == (0, None)
    with sessions.begin() as session:
        jobs.fail(session, job.id, job.fence, "diverged", "No number.")
    assert waiting(system) == 1
    assert claimed(system) == running
    assert claimed(system) is None  # somebody has it
    make_due(system)
    assert claimed(system) == running  # who has died, it seems
    with system.begin() as session:
        mlflow_runs.told(session, running, "run-1")
    make_due(system)
    assert (waiting(system), claimed(system)) == (0, None)


@pytest.mark.services
def test_two_senders_never_take_the_same(migrated_postgres: str, postgres_server: str) -> None:
    with fresh_database(postgres_server, template=migrated_postgres) as url:
        system = Sessions(url)
        mine = system.within(DEFAULT)
        first, second = ended.cancelled(mine), ended.cancelled(mine, "more")
        with system.begin() as one, system.begin() as other:
            taken = [mlflow_runs.claim(each, lease_seconds=60) for each in (one, other, one)]
        system.dispose()
    assert taken == [first, second, None]


def test_the_oldest_is_first_and_one_that_fails_keeps_nobody_waiting(
    sessions: Sessions, system: Sessions
) -> None:
    first, second = ended.cancelled(sessions), ended.cancelled(sessions, "more")
    with system.read() as session:
        standing = mlflow_runs.standing(session)
    assert standing.waiting == 2
    assert 0 <= standing.oldest_seconds < 3600
    assert claimed(system) == first
    with system.begin() as session:
        mlflow_runs.failed(session, first, luck=0.5)
    assert claimed(system) == second
    assert claimed(system) is None
    with system.read() as session:
        at, due = session.execute(
            SearchRow.__table__.select()
            .with_only_columns(now(), SearchRow.mlflow_due_at)
            .where(SearchRow.id == first)
        ).one()
    assert due - at == pytest.approx(timedelta(seconds=DELAYS[0]), abs=timedelta(seconds=30))


def test_attempts_never_end_and_are_an_hour_and_a_half_apart_at_most() -> None:
    delays = [next_delay(failures, luck=0.5) for failures in range(1, 100)]
    assert tuple(delays[: len(DELAYS)]) == DELAYS
    assert set(delays[len(DELAYS) :]) == {DELAYS[-1]}
    assert next_delay(99, luck=1.0) == 1.5 * 3_600
    assert next_delay(1, luck=0.0) == 30


def test_all_of_a_model_is_told(sessions: Sessions, system: Sessions, tmp_path: Path) -> None:
    search_id = ended.succeeded(sessions, None, tmp_path)
    run = read(system, search_id, "https://search.example")
    assert (run.status, run.name) == ("FINISHED", f"digits {str(search_id)[:8]}")
    assert run.ended_at >= run.started_at
    assert [each.name for each in run.artifacts] == list(ended.FILES)
    with sessions.read() as session:
        search = session.get_one(SearchRow, search_id)
        model = session.query(ModelRow.id).scalar()
        job_id, dataset_id = search.job_id, search.dataset_id
    assert (
        run.tags.items()
        >= {
            "label.team": "vision",
            "label.cost/centre": "7",
            "label.odd..name": "x",  # MLflow refuses what is no proper path
            "mlflow.user": "default",
            "mlflow.source.name": "headstart",
            "headstart.search_id": str(search_id),
            "headstart.job_id": str(job_id),
            "headstart.project": "default",
            "headstart.dataset": "digits",
            "headstart.dataset_id": str(dataset_id),
            "headstart.dataset_sha256": sha256_of("digits"),
            "headstart.policy": "race",
            "headstart.supernet": "zoo",
            "headstart.supernet_id": str(ended.SOURCE),
            "headstart.supernet_sha256": sha256_of("zoo"),
            "headstart.model_id": str(model),
            "headstart.link": f"https://search.example/models/{model}",
            "headstart.attempts": "1",
        }.items()
    )
    assert "headstart.error_code" not in run.tags
    assert (
        run.params.items()
        >= {
            "policy": "race",
            "training.epochs": "2",
            "training.method": "darts",
            "training.guard": "true",
            "space.resolution": "32",
            "start.resolution": "16",
            "start.batch_size": "64",
            "objectives": "[]",
        }.items()
    )
    assert not {"labels.team", "dataset_id", "deadline", "supernet_id"} & set(run.params)


def test_numbers_are_told_as_they_were_measured(
    sessions: Sessions, system: Sessions, tmp_path: Path
) -> None:
    run = read(system, ended.succeeded(sessions, None, tmp_path))
    second = BEGAN + timedelta(seconds=1)
    epochs = {each for each in run.metrics if "/" in each.key and "seconds" not in each.key}
    assert epochs == {
        Metric(f"{stage}/{name}", value, at, step)
        for stage in ("search_0", "retrain")
        for step, at, values in ((0, BEGAN, (1.0, 0.0)), (1, second, (0.5, 0.25)))
        for name, value in zip(("train_loss", "valid_accuracy"), values, strict=True)
    }
    figures = {each.key: each.value for each in run.metrics if each.at == run.ended_at}
    low, high = wilson(0.9, 3)  # of three test images
    assert figures == {
        "test_accuracy": 0.9,
        "test_accuracy_low": low,
        "test_accuracy_high": high,
        "test_loss": 0.25,
        "valid_accuracy": 0.875,
        "parameters": 9307,
        "macs": 566_976,
        "latency_seconds": 0.002,
        "seconds": 20.5,
        "gpu_seconds": 41.0,
        "seconds/search": 15.5,
        "seconds/retrain": 4.25,
    }


def test_what_ended_otherwise_says_how(sessions: Sessions, system: Sessions) -> None:
    lost = read(system, ended.failed(sessions))
    assert lost.status == "FAILED"
    assert lost.tags["headstart.error_code"] == "diverged"
    assert lost.tags["headstart.error"] == "The loss is not a number."
    assert lost.tags["headstart.link"] == f"/jobs/{lost.tags['headstart.job_id']}"
    assert {each.step for each in lost.metrics} == {0, 1}
    stopped = read(system, ended.cancelled(sessions, "more"))
    assert (stopped.status, stopped.artifacts) == ("KILLED", ())
    assert stopped.started_at == stopped.ended_at
    assert [each.key for each in stopped.metrics] == ["seconds"]


def test_what_an_older_version_kept_is_told_as_far_as_it_goes(
    sessions: Sessions, system: Sessions, tmp_path: Path
) -> None:
    search_id = ended.succeeded(sessions, None, tmp_path)
    with sessions.begin() as session:
        session.execute(update(ModelRow).values(metrics={"retrained": {"test_accuracy": 0.5}}))
        session.execute(update(SearchRow).values(spec={"retrain_epochs": 3}, start=None))
    run = read(system, search_id)
    assert run.params == {"retrain_epochs": "3"}
    assert "headstart.policy" not in run.tags
    assert {each.key for each in run.metrics if each.at == run.ended_at} == {
        *("seconds", "test_accuracy", "test_accuracy_low", "test_accuracy_high"),
    }


def test_what_was_told_is_not_looked_through_again(system: Sessions) -> None:
    due = select(SearchRow.id).where(SearchRow.mlflow_run_id.is_(None))
    with system.begin() as session:
        dialect = session.get_bind().dialect
        explain = "EXPLAIN QUERY PLAN " if dialect.name == "sqlite" else "EXPLAIN "
        if dialect.name == "postgresql":
            session.execute(text("SET LOCAL enable_seqscan = off"))
        compiled = due.order_by(SearchRow.created_at).compile(dialect=dialect)
        plan = session.connection().exec_driver_sql(explain + str(compiled)).all()
    assert "ix_searches_untold" in str(plan)
