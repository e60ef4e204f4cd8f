"""Every fault of `make chaos`, a tenth as often or less; and a harness that can find fault."""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from core import crash_points
from core.domain.jobs import Checkpoint
from core.execution.child_context import ChildContext
from tests.chaos import kills, stops
from tests.chaos.processes import Servers, servers
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.surroundings import DAMAGES, found_out

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(900)]
SEED = 20_261_126
RUNS = {
    "kills": 8,
    "searches": 1,
    "pauses": 4,
    "redis": 3,
    "postgres": 2,
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


def test_every_fault_of_the_long_form_is_here() -> None:
    points = {f"point:{point}" for point in crash_points.POINTS}
    assert {each.name for each in SCENARIOS} == points | set(RUNS)
    assert all(RUNS[each.name] <= each.runs / 10 for each in SCENARIOS if each.name in RUNS)


def test_a_worker_without_fences_is_found_out(running: Servers) -> None:
    row = stops.pauses(running, 4, SEED, unfenced=True)
    assert not row.passed
    assert row.stale > 0


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_reader_that_believes_every_byte_is_found_out(
    tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def believe(self: ChildContext, checkpoint: Checkpoint, path: Path) -> bool:
        with self.store.open(checkpoint.key) as source, path.open("wb") as target:
            shutil.copyfileobj(source, target)
        return True

    assert found_out(tmp_path / "careful", DAMAGES[damage], random.Random(SEED))
    monkeypatch.setattr(ChildContext, "_fetch", believe)
    if damage != "gone":  # which nobody can overlook
        assert not found_out(tmp_path / "careless", DAMAGES[damage], random.Random(SEED))
