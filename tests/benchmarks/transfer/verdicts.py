"""The bars that the default start is held to, and whether it passes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tests.benchmarks.transfer.spelling import (
    UNKNOWN,
    bracket,
    filled,
    percent,
    points,
    signed,
    table,
    times,
)

MET, MISSED, UNTOLD = "met", "**missed**", "not told"


def section(found: Mapping[str, Any]) -> str:
    """Every bar with its figure."""
    told = filled(
        """What the default start (the race, its costs and the ranking's included) is held to.
        "With kin" are the targets whose nearest source is of their own domain."""
    )
    head = ("bar", "measured", "")
    return f"## What it is held to\n\n{told}\n\n{table(head, list(rows(found)))}"


def rows(found: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Bar, figure, verdict."""
    race = found["overall"].get("race")
    if race is None:
        return
    yield from _speed(race, "")
    yield from _kin(found)
    for share in (95, 100):
        name = f"speedup_{share}_over_solved"
        if f"median_{name}" in race:
            told = f"{times(race[f'median_{name}'])} {bracket(race[f'{name}_interval'], times)}"
            yield f"to {share} % of the best of a cold start with a solved head", told, UNKNOWN
    yield from _gap(race)
    share = 1 - race["worse_targets"]
    yield (
        "no target with a significantly worse model",
        percent(share),
        _passed(share == 1),
    )
    better = race["better_targets"]
    yield "a better model on at least 70 % of targets", percent(better), _passed(better >= 0.7)
    for name, own in found["order"].items():
        if own["median"] is not None:
            told = f"{points(own['median'])} {bracket(own['interval'], points)}"
            yield f"{name.replace('_', ' ')}, median", told, _passed(own["median"] > 0)
    correlation = found["distance_gain_spearman"]
    if correlation["within_target"] is not None:
        told = f"{signed(correlation['within_target'])} "
        told += bracket(correlation["within_target_interval"], signed)
        yield "Spearman of distance and gain, within targets", told, UNKNOWN


def _speed(race: Mapping[str, Any], which: str) -> Iterator[tuple[str, str, str]]:
    bounds = race["speedup_95_interval"]
    passed = race["median_speedup_95"] >= 5 and (bounds is None or bounds[0] > 3)
    for bar, value, spread, met in (
        (
            "x5 to 95 % of cold's best, interval above x3",
            race["median_speedup_95"],
            bounds,
            passed,
        ),
        (
            "x3 to all of cold's best",
            race["median_speedup_100"],
            race["speedup_100_interval"],
            race["median_speedup_100"] >= 3,
        ),
        (
            "x3 to a model as accurate as cold's",
            race["median_model_speedup"],
            race["model_speedup_interval"],
            race["median_model_speedup"] >= 3,
        ),
    ):
        # One target that passes tells of no other.
        verdict = UNTOLD if met and spread is None else _passed(met)
        yield f"{bar}{which}", f"{times(value)} {bracket(spread, times)}", verdict


def _kin(found: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for name, which in (("with_kin", "with kin"), ("without_kin", "without kin")):
        own = found[name].get("race")
        if own is not None:
            yield from _speed(own, f" ({which}, {own['targets']} targets)")


def _gap(race: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for prefix, cells in (("", "by alphas"), ("scored_", "by score")):
        name = f"median_{prefix}discretisation_gap"
        if name in race:
            gap, above = race[name], race[f"{prefix}over_random_targets"]
            bar = f"cells {cells} within 5 points of the supernet, median"
            yield bar, points(-gap), _passed(gap <= 0.05)
            bar = f"cells {cells} above random ones on at least 75 % of targets"
            yield bar, percent(above), _passed(above >= 0.75)


def _passed(value: bool) -> str:
    return MET if value else MISSED
