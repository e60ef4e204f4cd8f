"""Arms are paired where all are there, and leads are counted by pairs and by tasks."""

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from tests.benchmarks.results import Filed, lead, whole


@dataclass(frozen=True, slots=True)
class Bench(Filed):
    root: Path
    decided: Any


def units(task: str, seed: int) -> dict[str, str]:
    return {arm: f"{task}-{seed}-{arm}" for arm in ("ours", "other")}


def test_only_whole_pairs_of_the_same_settings_count(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"epochs": 2})
    for seed in range(2):
        for name, unit in units("easy", seed).items():
            bench.keep(unit, {"accuracy": 0.5 + (name == "ours")})
    bench.keep("hard-0-ours", {"accuracy": 0.1})
    found = whole(bench, ("easy", "hard"), 2, units)
    assert set(found) == {("easy", 0), ("easy", 1)}
    assert found["easy", 0]["ours"] == {"accuracy": 1.5}
    assert whole(Bench(tmp_path, {"epochs": 3}), ("easy", "hard"), 2, units) == {}
    assert {each.suffix for each in bench.folder.iterdir()} == {".json"}


def test_leads_are_counted_by_pairs_and_by_tasks() -> None:
    rows = {
        ("easy", 0): {"lead": 0.03},
        ("easy", 1): {"lead": 0.01},
        ("even", 0): {"lead": 0.0},
        ("hard", 0): {"lead": 0.02},
        ("hard", 1): {"lead": -0.04},
    }
    found = lead(rows, fmean, lambda row: float(row["lead"]))
    assert (found.balance, found.tasks_won) == ("3-1", "1 of 3")
    assert str(found).startswith("+0.4 [")
