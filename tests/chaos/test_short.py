"""Every fault of `make chaos`, a tenth as often or less; and a harness that can find fault."""

import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from core import crash_points
from core.config import LocalStorage
from core.domain.jobs import Checkpoint
from core.execution.child_context import ChildContext
from tests.chaos import cancels, claims, commits, damages, kills, outages, soak, stops
from tests.chaos.cluster import QUICK
from tests.chaos.damages import DAMAGES, found_out
from tests.chaos.processes import Servers, servers
from tests.chaos.scenarios import SCENARIOS
from tests.fixtures import s3

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(900)]
SEED = 20_261_126
SOAKED = 45.0  # seconds, beside those until all are up and those until all is quiet
RUNS = {
    "kills": 8,
    "searches": 1,
    "pauses": 4,
    "redis": 3,
    "postgres": 2,
    "commits": 3,
    "idempotency": 100,
    "drains": 3,
    "cancels": 12,
    "disk": 2,
    "clocks": 4,
    "corruption": 60,
    "poison": 3,
    "claims": 500,
}


@pytest.fixture(scope="module")
def running() -> Iterator[Servers]:
    with servers() as made:
        yield made


@pytest.mark.parametrize("name", RUNS)
def test_a_cluster_survives(running: Servers, name: str) -> None:
    (scenario,) = [each for each in SCENARIOS if each.name == name]
    row = scenario.run(running, RUNS[name], SEED)
    assert row.passed, row
    assert row.runs >= RUNS[name]


def test_every_crash_point_is_reached_and_survived(running: Servers) -> None:
    row = kills.points(running, 1, SEED, points=crash_points.POINTS)
    assert row.passed, row


POINTS_ON_S3 = ("after_checkpoint_put", "before_checkpoint_row", "before_manifest")


def test_a_cluster_whose_objects_are_in_buckets_survives(running: Servers) -> None:
    with s3.own_server() as server:
        there = replace(running, s3=server)
        rows = [
            kills.points(there, 1, SEED, points=POINTS_ON_S3),
            kills.at_random(there, 3, SEED),
            damages.corruption(there, 2 * len(DAMAGES), SEED),
        ]
    assert all(row.passed for row in rows), rows


def test_every_fault_of_the_long_form_is_here() -> None:
    points = {f"point:{point}" for point in crash_points.POINTS}
    assert {each.name for each in SCENARIOS} == points | set(RUNS)
    assert all(RUNS[each.name] <= each.runs / 10 for each in SCENARIOS if each.name in RUNS)


def test_nothing_grows_in_a_minute_of_everything(running: Servers) -> None:
    row, curves, made = soak.soak(running, SOAKED, SEED, pause=(4.0, 8.0))
    assert row.passed, (row, curves)
    assert len(made) >= 4


def test_a_worker_without_fences_is_found_out(running: Servers) -> None:
    # So long that no heir has ended before the stale child has, which is steps ahead of it.
    row = stops.pauses(running, 4, SEED, steps=30, mutant="unfenced")
    assert not row.passed
    assert row.stale > 0


def test_a_worker_that_hears_no_cancel_is_found_out(running: Servers) -> None:
    row = cancels.cancels(running, 2, SEED, moments=("running", "twice"), mutant="deaf")
    assert not row.passed
    assert row.lost == 2  # they have another end than the one that was asked for


def test_a_drain_that_charges_is_found_out(running: Servers) -> None:
    assert not stops.drains(running, 1, SEED, mutant="charging").passed


def test_a_claim_that_locks_nothing_is_found_out(running: Servers) -> None:
    row = claims.claims(running, 200, SEED, mutant="unlocked")
    assert not row.passed
    assert row.double > 0


def test_an_api_that_needs_redis_is_found_out(running: Servers) -> None:
    row = outages.redis_faults(running, 1, SEED, timings=QUICK, mutant="dependent")
    assert not row.passed


def test_an_api_that_answers_before_it_commits_is_found_out(running: Servers) -> None:
    row = outages.postgres_restarts(running, 2, SEED, mutant="hasty")
    assert not row.passed
    assert row.lost > 0


def test_a_client_that_asks_again_without_a_key_is_found_out(running: Servers) -> None:
    row = commits.commits(running, 1, SEED, keyed=False)
    assert not row.passed
    assert row.double > 0


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_reader_that_believes_every_byte_is_found_out(
    tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def believe(self: ChildContext, checkpoint: Checkpoint, path: Path) -> bool:
        with self.store.open(checkpoint.key) as source, path.open("wb") as target:
            shutil.copyfileobj(source, target)
        return True

    storage = LocalStorage(root=tmp_path / "objects")
    assert found_out(tmp_path / "careful", DAMAGES[damage], random.Random(SEED), storage)
    monkeypatch.setattr(ChildContext, "_fetch", believe)
    if damage != "gone":  # which nobody can overlook
        dice = random.Random(SEED + 1)
        assert not found_out(tmp_path / "careless", DAMAGES[damage], dice, storage)
