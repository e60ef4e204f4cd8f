"""What all rows together say: medians, means and their intervals."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict
from statistics import fmean, median
from typing import Any

import torch

from tests.benchmarks.transfer.plan import arm_unit, distance_unit, supernets
from tests.benchmarks.transfer.resampling import censored_median, interval, spearman
from tests.benchmarks.transfer.rows import CONTROLS, POLICIES, SINGLE, Row, rows
from tests.benchmarks.transfer.settings import Bench

_CLEAR = 2.0  # standard errors of a paired difference


def gather(bench: Bench, targets: Sequence[str], seeds: int) -> dict[str, Any]:
    """Everything that is written to ``transfer.json``."""
    found = list(rows(bench, targets, seeds))
    policies = [each for each in POLICIES if any(row.policy == each for row in found)]
    return {
        "scale": bench.scale.name,
        "settings": bench.settings | {"seeds": seeds, "suite_tasks": len(bench.domains)},
        "machine": {
            "cores": os.cpu_count(),
            "processor": platform.machine(),
            "device": _device(bench.device),
            "torch": torch.__version__,
        },
        "overall": {policy: _overall(found, policy) for policy in ("cold", *policies)},
        "with_kin": _overall_where(found, bench, targets, kin=True),
        "without_kin": _overall_where(found, bench, targets, kin=False),
        "distance_gain_spearman": _distance_gain(found),
        "order": _order(found),
        "race_winners": _winners(bench, targets, seeds),
        "pretraining": _pretraining(bench, targets, seeds),
        "missing": _missing(found, targets, seeds, policies, bench.scale.control_seeds),
        "targets": {
            target: {
                "domain": bench.domains[target],
                "rows": [asdict(row) for row in found if row.target == target],
            }
            for target in targets
        },
    }


def kin_at_hand(bench: Bench, target: str) -> bool:
    """Whether the nearest source is of the target's own domain."""
    nearest: str = bench.result(distance_unit(target))["order"][0]
    return bench.domains[nearest] == bench.domains[target]


def _overall_where(
    found: Sequence[Row], bench: Bench, targets: Sequence[str], *, kin: bool
) -> dict[str, Any]:
    """The race alone, on the targets that have (or have not) a source of their own domain."""
    chosen = {target for target in targets if kin_at_hand(bench, target) is kin}
    own = [row for row in found if row.target in chosen]
    return {
        policy: _overall(own, policy)
        for policy in ("race", "nearest", "multi")
        if any(row.policy == policy for row in own)
    }


def _order(found: Sequence[Row]) -> dict[str, Any]:
    """By how much a nearer source was further ahead, over the same epochs of the same target."""
    ahead = {
        (row.target, row.seed, row.policy): row.ahead_epochs
        for row in found
        if row.policy in SINGLE and row.ahead_epochs is not None
    }
    pairs = dict.fromkeys((target, seed) for target, seed, _ in ahead)
    result: dict[str, Any] = {}
    for better, worse in (("nearest", "random"), ("random", "farthest")):
        groups: dict[str, list[float]] = {}
        for target, seed in pairs:
            first, second = (ahead.get((target, seed, arm)) for arm in (better, worse))
            if first is not None and second is not None:
                groups.setdefault(target, []).append(first - second)
        everything = [value for group in groups.values() for value in group]
        result[f"{better}_over_{worse}"] = {
            "pairs": len(everything),
            "median": median(everything) if everything else None,
            "interval": interval(list(groups.values()), median),
        }
    return result


def _overall(found: Sequence[Row], policy: str) -> dict[str, Any]:
    own = [row for row in found if row.policy == policy]
    result: dict[str, Any] = {
        "pairs": len(own),
        "targets": len({row.target for row in own}),
        "overhead_fraction": fmean(row.lead_seconds / row.total_seconds for row in own),
        "median_total_seconds": median(row.total_seconds for row in own),
        "not_worse_fraction": fmean(
            row.retrained_difference >= -_CLEAR * row.retrained_error for row in own
        ),
        "at_least_fraction": fmean(row.retrained_difference >= 0 for row in own),
        "mean_retrained_test": fmean(row.retrained_test for row in own),
        "better_targets": fmean(mean > 0 for mean, _ in _by_mean(own)),
        "worse_targets": fmean(mean < -_CLEAR * error for mean, error in _by_mean(own)),
    }
    result |= _summary(own, "retrained_difference", "retrained_difference", (median, fmean))
    result |= _summary(own, "model_ratio", "model_speedup", (median,))
    searched = [row for row in own if row.ratio_95 is not None]
    if searched:
        for share in (95, 100):
            result |= _summary(searched, f"ratio_{share}", f"speedup_{share}", (median,))
            result |= _summary(
                searched, f"epoch_ratio_{share}", f"epoch_speedup_{share}", (median,)
            )
            name = f"ratio_{share}_over_solved"
            if all(getattr(row, name) is not None for row in searched):
                spelled = f"speedup_{share}_over_solved"
                result |= _summary(searched, name, spelled, (median,))
            for axis in ("seconds", "epochs"):
                name = f"{axis}_{share}"
                times = [getattr(row, name) for row in searched]
                result[f"median_{name}"] = censored_median(times)
                result[f"never_{share}"] = fmean(each is None for each in times)
        result["positive_fraction"] = fmean((row.ahead_seconds or 0) > 0 for row in searched)
        result |= _summary(searched, "ahead_seconds", "ahead_seconds", (fmean,))
        result |= _summary(searched, "ahead_epochs", "ahead_epochs", (fmean,))
    derived = [row for row in own if row.supernet_test is not None]
    if derived:
        result |= _summary(derived, "supernet_difference", "supernet_difference", (fmean,))
        result["mean_supernet_test"] = fmean(row.supernet_test or 0 for row in derived)
        for prefix, cell in (("", "discretised_test"), ("scored_", "scored_test")):
            result |= _discretised(derived, cell, prefix)
    return result


def _by_mean(own: Sequence[Row]) -> list[tuple[float, float]]:
    """Of every target the mean difference of its models, and the standard error of it."""
    found = []
    for name in dict.fromkeys(row.target for row in own):
        rows = [row for row in own if row.target == name]
        error = math.sqrt(sum(row.retrained_error**2 for row in rows)) / len(rows)
        found.append((fmean(row.retrained_difference for row in rows), error))
    return found


def _discretised(own: Sequence[Row], cell: str, prefix: str) -> dict[str, Any]:
    """What one cell loses against the supernet, and gains over random cells of the same size."""

    def gap(row: Row) -> float:
        return (row.supernet_test or 0) - float(getattr(row, cell))

    def over_random(row: Row) -> float:
        return float(getattr(row, cell)) - (row.random_inherited_test or 0)

    found = _mean(own, gap, f"{prefix}discretisation_gap")
    found[f"median_{prefix}discretisation_gap"] = median(map(gap, own))
    found |= _mean(own, over_random, f"{prefix}chosen_over_random")
    means = [fmean(group) for group in _by_target(own, over_random)]
    found[f"{prefix}over_random_targets"] = fmean(mean > 0 for mean in means)
    return found


def _summary(
    own: Sequence[Row],
    field: str,
    name: str,
    statistics: Sequence[Callable[[Sequence[float]], float]],
) -> dict[str, Any]:
    """Median or mean of a column, or both; the interval is the last one's."""
    values = _by_target(own, lambda row: float(getattr(row, field)))
    everything = [value for group in values for value in group]
    found: dict[str, Any] = {
        f"{'median' if each is median else 'mean'}_{name}": each(everything) for each in statistics
    }
    return found | {f"{name}_interval": interval(values, statistics[-1])}


def _mean(own: Sequence[Row], value: Callable[[Row], float], name: str) -> dict[str, Any]:
    values = _by_target(own, value)
    mean = fmean(each for group in values for each in group)
    return {f"mean_{name}": mean, f"{name}_interval": interval(values, fmean)}


def _by_target(own: Sequence[Row], value: Callable[[Row], float]) -> list[list[float]]:
    names = dict.fromkeys(row.target for row in own)
    return [[value(row) for row in own if row.target == name] for name in names]


def _distance_gain(found: Sequence[Row]) -> dict[str, Any]:
    """Do nearer sources gain more? By epochs: what a ranking costs is no part of the gain."""
    kept = {
        (row.target, row.seed, row.source): row
        for row in found
        if row.policy in SINGLE and row.distance is not None and row.ahead_epochs is not None
    }
    pairs: dict[str, list[tuple[float, float]]] = {}
    within: dict[str, list[tuple[float, float]]] = {}
    for target, seed in dict.fromkeys((row.target, row.seed) for row in kept.values()):
        own = [
            (row.distance or 0.0, row.ahead_epochs or 0.0)
            for row in kept.values()
            if (row.target, row.seed) == (target, seed)
        ]
        pairs.setdefault(target, []).extend(own)
        far, gain = (fmean(pair[at] for pair in own) for at in (0, 1))
        within.setdefault(target, []).extend((x - far, y - gain) for x, y in own)
    groups, inner = list(pairs.values()), list(within.values())
    return {
        "value": spearman([pair for group in groups for pair in group]),
        "interval": interval(groups, spearman),
        "within_target": spearman([pair for group in inner for pair in group]),
        "within_target_interval": interval(inner, spearman),
        "pairs": len(kept),
    }


def _winners(bench: Bench, targets: Sequence[str], seeds: int) -> dict[str, int]:
    found = dict[str, int]()
    for target in targets:
        for seed in range(seeds):
            race = bench.result(arm_unit(target, seed, "race"))
            if race is not None:
                found[race["winner"]] = found.get(race["winner"], 0) + 1
    return found


def _pretraining(bench: Bench, targets: Sequence[str], seeds: int) -> dict[str, Any]:
    units = {
        unit
        for target in targets
        for seed in range(seeds)
        for unit in supernets(bench, target, seed).values()
    }
    seconds = {unit: result["seconds"] for unit in sorted(units) if (result := bench.result(unit))}
    single = [value for unit, value in seconds.items() if unit.startswith("sources/")]
    shared = [value for unit, value in seconds.items() if unit.startswith("shared/")]
    return {
        "single_supernets": len(single),
        "mean_single_seconds": fmean(single) if single else None,
        "shared_supernets": len(shared),
        "mean_shared_seconds": fmean(shared) if shared else None,
        "total_seconds": sum(seconds.values()),
        "seconds": seconds,
    }


def _missing(
    found: Sequence[Row],
    targets: Sequence[str],
    seeds: int,
    policies: Sequence[str],
    controlled: int,
) -> list[str]:
    have = {(row.target, row.seed, row.policy) for row in found}
    return [
        arm_unit(target, seed, policy)
        for target in targets
        for seed in range(seeds)
        for policy in ("cold", *policies)
        if (target, seed, policy) not in have and (seed < controlled or policy not in CONTROLS)
    ]


def _device(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu"
