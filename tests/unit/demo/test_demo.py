"""The demo's arithmetic, and that no test image is a train image."""

import hashlib
import io
import zipfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from api.demo import images, results


def history(*accuracies: float) -> list[dict[str, Any]]:
    return [
        {"epoch": n, "elapsed": 2.0 * n + 1, "valid_accuracy": a} for n, a in enumerate(accuracies)
    ]


def model(*accuracies: float) -> dict[str, Any]:
    rows = history(*accuracies)
    other = {"learning_rate": 0.1, "seconds": 9.0, "history": history(0.99)}
    return {
        "genotype": {},
        "metrics": {
            "arms": [other, {"learning_rate": 0.05, "seconds": 7.0, "history": rows}],
            "best_arm": 1,
            "supernet": {"test_accuracy": 0.1},
            "discretised": {"test_accuracy": 0.2},
            "retrained": {"test_accuracy": 0.3},
            "seconds": {"race": 1.5, "retrain": 3.0},
        },
    }


SEARCH = {"spec": {"head": "random"}, "start": {"dataset_name": None}}


def test_reached_tells_the_first_epoch_and_its_seconds() -> None:
    rows = history(0.2, 0.8, 0.7, 0.9)
    assert results.reached(rows, 0.2) == (0, 1.0)
    assert results.reached(rows, 0.75) == (1, 3.0)
    assert results.reached(rows, 0.91) == (None, None)


def test_an_arm_is_measured_against_colds_best() -> None:
    cold = model(0.1, 0.4, 0.8)
    assert results.best_validation(cold) == 0.8
    warm = results.arm(SEARCH, model(0.77, 0.79, 0.79), cold_best=0.8, artifacts={})
    assert (warm["epochs_to_95"], warm["seconds_to_95"]) == (0, 1.0)
    assert (warm["epochs_to_100"], warm["seconds_to_100"]) == (None, None)
    assert warm["seconds_all_learning_rates"] == 16.0
    assert warm["seconds_race"] == 1.5
    assert warm["retrained_accuracy"] == 0.3


def test_the_table_shows_a_dash_for_never_and_calls_ties_ties() -> None:
    arm = results.arm(SEARCH, model(0.1), cold_best=0.8, artifacts={})
    near = {"source": "a", "distance": 0.1, "interval": [0.05, 0.2], "tied_with_nearest": True}
    target = {
        "ranking": [near, {**near, "source": "b"}],
        "cold": arm,
        "cold_closed_form_head": arm,
        "warm": arm,
    }
    result = {
        "targets": {"digits": target},
        "ranking_seconds": {"digits": 0.5},
        "pretraining_seconds": {"mnist": 3.0},
        "seed": 0,
    }
    console = Console(width=120, file=io.StringIO())
    console.print(results.tables(result))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text.count("tied with the nearest") == 1
    assert "-" in [cell.strip() for cell in text.replace("│", "|").split("|")]


@pytest.mark.parametrize("name", sorted(images.ARCHIVES))
def test_no_test_image_is_a_train_image(name: str, tmp_path: Path) -> None:
    seen: dict[str, set[str]] = defaultdict(set)
    counts: dict[str, int] = defaultdict(int)
    for split, _, pixels in images.ARCHIVES[name]():
        seen[split].add(hashlib.sha256(pixels.tobytes()).hexdigest())
        counts[split] += 1
    assert not seen["train"] & seen["test"]
    assert counts["train"] >= 500
    assert counts["test"] >= 190


def test_building_again_gives_the_same_archives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "ARCHIVES", {"greek": images.greek})
    first, second = (images.build(tmp_path / part)["greek"] for part in "ab")
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:
        assert len({name.split("/")[1] for name in archive.namelist()}) == 24
