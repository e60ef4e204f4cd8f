"""What searches are estimated to take, and what finished ones teach of it."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.db.job_tables import JobRow
from core.db.result_tables import ModelRow, SearchRow
from core.db.sessions import Sessions
from core.domain import effort
from core.domain.datasets import Dataset
from core.domain.estimates import Estimate
from core.domain.searches import Budget, SearchSpec, StartPolicy, Training
from core.errors import InvalidInput
from core.nas import cost_model
from core.nas.space import Space
from core.services import datasets, estimates, finished, models, searches, specs, supernets
from tests.unit.services.samples import EMBEDDER, artifact, dataset, embedding, ranking, sha256_of

SPACE = Space(channels=8, layers=4)


def done(
    session: Session,
    name: str,
    *,
    times: float,
    warm: bool = True,
    epochs: int = 5,
    stopped: str | None = None,
    asked: Mapping[str, Any] = MappingProxyType({}),
    **machine: Any,
) -> None:
    """A finished search that took so many times what the model of cost says."""
    target = dataset(session, name)
    spec = SearchSpec(target.id, EMBEDDER, **asked)
    search, job = searches.submit_search(session, spec)
    found = specs.shape(spec, SPACE, 32, target.train_counts, 64)
    seconds = found.job(
        searches=1,
        searched=epochs,
        retrained=20,
        other=effort.choice(spec) + effort.race(spec.capped),
    )
    rungs = [({"valid_accuracy": 0.8}, str(uuid4())), ({"valid_accuracy": 0.5}, None)]
    start = {
        "supernet_id": str(uuid4()) if warm else None,
        "space": SPACE.to_dict(), "resolution": 32, "batch_size": 64,
        "race": {
            "contestants": [
                {"supernet_id": id_, "distance": None, "rungs": [rung]} for rung, id_ in rungs
            ]
        },
    }  # fmt: skip
    described = {"device": "cpu", "processes": 1, "host_bytes": None, "gpu_bytes": None}
    models.register(
        session, search_id=search.id, dataset_id=target.id, genotype={},
        metrics={
            "arms": [{"history": [{}] * epochs + [{"stopped": stopped}]}],
            "retrained": {"history": [{}] * 21},
            "machine": {**described, **machine},
        },
        artifacts=[artifact()], manifest_key="m", manifest_sha256=sha256_of("m"),
    )  # fmt: skip
    which = SearchRow.id == search.id
    session.execute(update(SearchRow).where(which).values(start=start))
    cost = {"cost_seconds": times * seconds}
    session.execute(update(JobRow).where(JobRow.id == job.id).values(cost))


def estimate(session: Session, target: Dataset, **changes: Any) -> Estimate:
    spec = SearchSpec(target.id, EMBEDDER, **changes)
    return estimates.of_search(session, spec, device="auto")


def test_finished_searches_move_and_narrow_it(sessions: Sessions) -> None:
    with sessions.begin() as session:
        target = dataset(session)
        blind = estimate(session, target)
        for number in range(6):
            done(session, f"n{number}", times=3.0, warm=number < 3, epochs=5 if number < 3 else 20)
        found = estimate(session, target)
    assert (blind.basis.searches, found.basis.searches) == (0, 6)
    assert found.least_seconds.expected == pytest.approx(3 * blind.least_seconds.expected, rel=0.1)
    widths = [each.least_seconds.high / each.least_seconds.low for each in (blind, found)]
    assert widths[1] < widths[0] / 2
    assert (found.saving.races, found.saving.won) == (6, 3)
    assert found.saving.points is not None
    assert found.saving.points.expected == pytest.approx(30)
    assert found.saving.seconds is not None
    assert 0 < found.saving.seconds.low <= found.saving.seconds.expected
    assert blind.saving.seconds is None


def test_a_given_architecture_costs_its_training_alone(sessions: Sessions) -> None:
    node = [["sep_conv_3x3", 0], ["skip_connect", 1]]
    given = {
        "policy": StartPolicy.COLD,
        "genotype": {"normal": [node] * 4, "reduction": [node] * 4},
    }
    with sessions.begin() as session:
        target = dataset(session)
        usual = estimate(session, target, policy=StartPolicy.COLD)
        found = estimate(session, target, **given)
        twice = estimate(session, target, **given, retrain_epochs=40)
        capped = estimate(session, target, **given, retrain_epochs=40, budget=Budget(epochs=20))
    shape = specs.shape(SearchSpec(target.id, EMBEDDER), SPACE, 32, target.train_counts, 64)
    trained = found.seconds.expected - shape.export()
    assert trained == pytest.approx(shape.epoch() * cost_model.RETRAIN * (20 + cost_model.START))
    assert found.seconds.expected < usual.seconds.expected
    assert twice.seconds.expected > found.seconds.expected == capped.seconds.expected
    assert (found.trial.starts, found.trial.learning_rates, found.trial.epochs) == ((), (), 0)
    assert found.saving.seconds is None


def test_gpus_are_counted_by_the_processes(sessions: Sessions) -> None:
    with sessions.begin() as session:
        target = dataset(session)
        unknown = estimates.of_search(session, SearchSpec(target.id, EMBEDDER), device="cuda")
        done(session, "n", times=0.1, device="NVIDIA H100", processes=2, gpu_bytes=10**9)
        found = estimate(session, target)
    assert found.basis.device == "NVIDIA H100"
    assert found.gpu_seconds.expected == pytest.approx(2 * found.seconds.expected)
    assert found.seconds.expected < unknown.seconds.expected
    assert unknown.seconds.high / unknown.seconds.low > 100  # of such a device nothing is known
    assert found.gpu_bytes.expected > 0


def test_starts_are_told_in_the_order_in_which_they_are_tried(sessions: Sessions) -> None:
    with sessions.begin() as session:
        target, far, near = (dataset(session, name) for name in ("target", "far", "near"))
        for each in (target, far, near):
            datasets.record_embedding(session, embedding(each))
        made = {}
        for owner in (far, near, None):
            name = "shared" if owner is None else owner.name
            made[name], _ = supernets.register(
                session, name=name, dataset_id=None if owner is None else owner.id, job_id=None,
                space=SPACE.to_dict(),
                resolution=16, key=name, sha256=sha256_of(name), metrics={}, seconds=1.0,
                lineage={},
            )  # fmt: skip
        datasets.record_ranking(session, ranking(target, near, far))

        def names(policy: StartPolicy) -> list[str]:
            return [each.name for each in estimate(session, target, policy=policy).trial.starts]

        assert names(StartPolicy.RACE) == ["shared", "near", "far", "cold start"]
        assert names(StartPolicy.NEAREST) == ["near"]
        assert names(StartPolicy.MULTI_DATASET) == ["shared"]
        assert names(StartPolicy.COLD) == ["cold start"]
        raced = estimate(session, target)
    assert raced.trial.resolution == 16  # the first one's own
    assert raced.trial.starts[1].supernet_id == made["near"].id


def test_a_budget_is_a_limit(sessions: Sessions) -> None:
    with sessions.begin() as session:
        target = dataset(session)
        free = estimate(session, target)
        capped = estimate(session, target, budget=Budget(seconds=free.seconds.low))
        few = estimate(session, target, budget=Budget(epochs=4))
    assert capped.seconds.high == free.seconds.low
    assert few.seconds.expected < free.seconds.expected
    assert (few.trial.epochs, few.trial.retrain_epochs) == (1, 3)


def test_the_least_of_a_budget_and_of_a_deadline_is_the_limit(sessions: Sessions) -> None:
    with sessions.begin() as session:
        target = dataset(session)
        seconds = estimate(session, target).seconds
        soon = datetime.now(UTC) + timedelta(seconds=seconds.expected / 2)
        late = estimate(session, target, deadline=soon)
        done(session, "n", times=1.0, device="NVIDIA H100", processes=2)
        free = estimate(session, target)
        half = Budget(seconds=1e6, gpu_seconds=free.gpu_seconds.expected / 2)
        capped = estimate(session, target, budget=half)
    assert late.seconds.high == pytest.approx(seconds.expected / 2, rel=0.05)
    assert late.seconds.expected == late.seconds.high
    assert capped.seconds.expected == pytest.approx(free.seconds.expected / 2)
    assert capped.gpu_seconds.high == pytest.approx(free.gpu_seconds.expected / 2)


def test_gpu_seconds_are_those_of_all_processes(sessions: Sessions) -> None:
    with sessions.begin() as session:
        target = dataset(session)
        for number in range(6):
            done(session, f"n{number}", times=1.0, device="NVIDIA H100", processes=4)
        least = estimate(session, target).least_seconds.low
        assert estimate(session, target, budget=Budget(gpu_seconds=4.01 * least))
        with pytest.raises(InvalidInput) as caught:
            estimate(session, target, budget=Budget(gpu_seconds=3.99 * least))
    assert caught.value.details[0].place == "budget.gpu_seconds"


def test_epochs_in_which_no_model_can_be_made_are_refused(sessions: Sessions) -> None:
    asked = {"budget": Budget(epochs=2), "learning_rates": (0.1, 0.05)}
    with sessions.begin() as session:
        target = dataset(session)
        with pytest.raises(InvalidInput, match="3 epochs at least") as caught:
            estimate(session, target, **asked)
    assert caught.value.stable_code == "budget_too_small"
    assert caught.value.details[0].place == "budget.epochs"


def test_what_a_budget_ended_says_nothing_of_early_ends(sessions: Sessions) -> None:
    with sessions.begin() as session:
        done(session, "by itself", times=1.0, epochs=5)
        done(session, "by its budget", times=1.0, epochs=2, stopped=effort.SPENT)
        # Five of the ten that its budget left it.
        done(session, "of few", times=1.0, asked={"budget": Budget(epochs=30)})
        found = finished.newest(session)
    assert sorted(str(each.used) for each in found) == ["0.25", "0.5", "None"]
    assert [each.ratio for each in found] == pytest.approx([1.0] * 3)


def test_a_search_that_never_began_counts_no_epoch(sessions: Sessions) -> None:
    with sessions.begin() as session:
        done(session, "n", times=1.0)
        row = session.scalars(select(ModelRow)).one()
        row.metrics = {**row.metrics, "arms": [*row.metrics["arms"], {"history": []}]}
        session.flush()
        (found,) = finished.newest(session)
    assert found.used == pytest.approx((5 + 0) / 2 / 20)


def test_what_an_earlier_release_kept_is_passed_over(sessions: Sessions) -> None:
    with sessions.begin() as session:
        target = dataset(session)
        for name in ("old", "new"):
            done(session, name, times=1.0)
        old, _ = session.scalars(select(ModelRow).order_by(ModelRow.created_at, ModelRow.id))
        old.metrics = {name: told for name, told in old.metrics.items() if name != "machine"}
        row = session.get_one(SearchRow, old.search_id)
        row.spec = {**row.spec, "policy": "as it was called then"}
        session.flush()
        assert estimate(session, target).basis.searches == 1


def test_nothing_is_saved_where_no_search_may_end_early(sessions: Sessions) -> None:
    with sessions.begin() as session:
        target = dataset(session)
        for number in range(6):
            done(session, f"n{number}", times=1.0, warm=number < 3, epochs=5 if number < 3 else 20)
        assert estimate(session, target).saving.seconds is not None
        assert estimate(session, target, patience=0).saving.seconds is None
        assert estimate(session, target, training=Training(epochs=1)).saving.seconds is None
