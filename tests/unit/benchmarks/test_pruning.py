"""Results of the comparison of sub-networks are paired, and measured once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from core.nas.network import parameter_count
from tests.benchmarks.bench_pruning import Rows, compared, rows
from tests.benchmarks.pruning.measuring import Pruning, Settings, quarter

LEADS = {"full": 0.1, "searched": 0.05, "kernels": 0.06}


def whole(_: Pruning, task: str, seed: int) -> dict[str, Any]:
    return part(_, task, seed, "full", 1.0)


def part(_: Pruning, task: str, seed: int, arm: str, share: float) -> dict[str, Any]:
    accuracy = 0.5 + LEADS.get(arm, 0.0) + 0.1 * seed + 0.2 * (task == "easy")
    size = round(100 * share)
    return {"accuracy": accuracy, "parameters": size, "choosing": 1.0, "training": 2.0}


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pruning:
    monkeypatch.setattr(Pruning, "whole", whole)
    monkeypatch.setattr(Pruning, "part", part)
    made = Pruning(tmp_path, tmp_path, Settings())
    made.folder.mkdir()
    return made


def measured(bench: Pruning) -> Rows:
    for unit in bench.units(("easy", "hard"), 3, (0.25,)):
        assert all(bench.result(need) is not None for need in unit.needs)
        bench.keep(unit.name, unit.measure(bench))
    return rows(bench, ("easy", "hard"), 3, (0.25,))


def test_leads_are_paired_by_task_and_seed(bench: Pruning) -> None:
    told = compared(measured(bench), 0.25)
    lines = {line.split("|")[1].strip(): line for line in told.splitlines() if "|" in line}
    # Tasks and seeds differ by far more than arms do: only pairs have no spread.
    assert "+5.0 [+5.0, +5.0]" in lines["random"]
    assert "6-0" in lines["random"]
    assert "-1.0 [-1.0, -1.0]" in lines["L1 of kernels"]
    assert "0-6" in lines["L1 of kernels"]
    assert "25.0 %" in lines["searched"]
    assert "100.0 %" in lines["the whole network"]


def test_only_whole_pairs_of_these_settings_count(bench: Pruning) -> None:
    found = measured(bench)
    assert len(found) == 6
    (bench.folder / "hard-2-random-0.25.json").unlink()
    left = rows(bench, ("easy", "hard"), 3, (0.25,))
    assert set(found) - set(left) == {("hard", 2)}
    other = Pruning(bench.suite, bench.root, Settings(epochs=3))
    assert rows(other, ("easy", "hard"), 3, (0.25,)) == {}


def test_the_whole_network_is_a_quarter_as_wide() -> None:
    model = quarter(10, 0, 16).eval()
    assert model(torch.zeros(2, 3, 16, 16)).shape == (2, 10)
    assert model.classifier.in_features == 128
    assert 690_000 < parameter_count(model) < 710_000
