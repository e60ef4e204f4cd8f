"""Curves of the supernets: one picture for each target, one of them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from core.pictures.curves import Series, draw_curves
from tests.benchmarks.transfer.resampling import held
from tests.benchmarks.transfer.rows import searched_curves
from tests.benchmarks.transfer.settings import Bench

_SHOWN = ("cold", "cold_closed_form", "nearest", "farthest", "random", "multi", "race")
_POINTS = 40
Curves = Sequence[Mapping[str, Any]]  # of one policy: seconds (ranking paid) and accuracies


def draw(bench: Bench, found: Mapping[str, Any]) -> str:
    """Write a picture for each target, and return that of all."""
    folder = bench.folder / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    seeds, gathered = found["settings"]["seeds"], dict[str, list[Mapping[str, Any]]]()
    for target in found["targets"]:
        own = searched_curves(bench, target, seeds)
        for policy, curves in own.items():
            gathered.setdefault(policy, []).extend(curves)
        title = f"Searching on {target}: mean of the seeds"
        (folder / f"{target}.svg").write_text(_drawn(own, title))
    return _drawn(gathered, "Searching on tasks never seen: mean of all targets and seeds")


def _drawn(curves: Mapping[str, Curves], title: str) -> str:
    return draw_curves(
        [_series(policy, curves[policy]) for policy in _SHOWN if curves.get(policy)],
        title=title,
        x_label="per cent of the cold search's seconds, ranking and racing paid",
        y_label="share of cold's best accuracy",
    )


def _series(policy: str, curves: Curves) -> Series:
    xs = [place / _POINTS for place in range(_POINTS + 1)]
    ys = [fmean(_at(curve, x) for curve in curves) for x in xs]
    return Series(policy.replace("_", " "), [100 * x for x in xs], ys)


def _at(curve: Mapping[str, Any], share: float) -> float:
    at = share * curve["whole"]
    return held(curve["seconds"], curve["valid"], at, 0.0) / float(curve["best"])
