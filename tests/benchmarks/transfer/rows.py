"""A row for every target, seed and policy, from what the finished units wrote."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import torch

from core.nas.standings import paired
from tests.benchmarks.transfer.contest import COLD
from tests.benchmarks.transfer.plan import arm_unit, distance_unit, resnet_arm
from tests.benchmarks.transfer.resampling import mean_held, ratio
from tests.benchmarks.transfer.settings import Bench

SINGLE = ("nearest", "farthest", "random")
RANKED = ("nearest", "farthest", "nearest_straight", "race")  # their policies pay for a ranking
STRAIGHT = ("nearest_straight", "multi_straight")
POLICIES = (
    COLD, *SINGLE, "multi", "race", *STRAIGHT, "random_cell", "resnet18",
)  # fmt: skip
CONTROLS = ("farthest", "random", "random_cell", "resnet18")  # on the first seeds only
_UNRANKED = ("multi", COLD)  # who runs in a race before a ranking, or needs none
_START = 0.25  # of an epoch: what measuring the start counts as, in a job's progress too


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A policy on a target, beside the cold start of the same target and seed.

    Accuracies are in 0..1. Epochs and seconds "to 95" and "to 100" per cent are to that share of
    the best validation accuracy that the cold start's supernet ever has; None is never. Ratios
    are cold's over the policy's, 0 for never. `ahead` is the mean difference of the supernets'
    validation accuracies over the seconds (epochs) of the cold search, each holding its latest;
    before its first an arm knows nothing. The model's seconds are until its test accuracy, after
    choosing, inheriting or any epoch of retraining, first is the cold start's last.
    `lead_seconds` are those of ranking and racing; they are in all others. Ratios "over solved"
    have the cold start whose head is solved for a reference, up to its own best. `scored_test` is
    of the cells that scoring candidates would choose from the same supernet.
    """

    target: str
    seed: int
    policy: str
    source: str | None = None
    distance: float | None = None
    epochs_95: float | None = None
    epochs_100: float | None = None
    seconds_95: float | None = None
    seconds_100: float | None = None
    ratio_95: float | None = None
    ratio_100: float | None = None
    epoch_ratio_95: float | None = None
    epoch_ratio_100: float | None = None
    ratio_95_over_solved: float | None = None
    ratio_100_over_solved: float | None = None
    ahead_seconds: float | None = None
    ahead_epochs: float | None = None
    supernet_test: float | None = None
    supernet_difference: float | None = None
    discretised_test: float | None = None
    scored_test: float | None = None
    random_inherited_test: float | None = None
    retrained_test: float
    retrained_difference: float
    retrained_error: float
    model_seconds: float | None
    model_ratio: float
    lead_seconds: float
    total_seconds: float


def rows(bench: Bench, targets: Sequence[str], seeds: int) -> Iterator[Row]:
    """All rows whose units are finished, cold's own among them."""
    for target in targets:
        ranked = bench.result(distance_unit(target))
        for seed in range(seeds):
            records = _records(bench, target, seed)
            cold = records.get("cold")
            if cold is None:
                continue
            order = dict(zip(ranked["order"], ranked["distances"], strict=True))
            for policy, record in records.items():
                lead = _lead(policy, record, ranked)
                row = _row((target, seed, policy), record, cold, lead, order)
                yield replace(row, **_over_solved(record, records.get(COLD), lead))


def _over_solved(
    record: Mapping[str, Any], solved: Mapping[str, Any] | None, lead: float
) -> dict[str, float]:
    if solved is None or "search" not in record:
        return {}
    found = _searched(record, solved, lead)
    return {f"ratio_{share}_over_solved": found[f"ratio_{share}"] for share in (95, 100)}


def _records(bench: Bench, target: str, seed: int) -> dict[str, dict[str, Any]]:
    """By policy; a race's is its winner's."""
    ranked = bench.result(distance_unit(target))
    arms = {each: each for each in ("cold", *POLICIES) if each not in ("race", "resnet18")}
    if (resnet := resnet_arm(bench)) is not None:
        arms["resnet18"] = resnet
    found = {policy: bench.result(arm_unit(target, seed, arm)) for policy, arm in arms.items()}
    race = bench.result(arm_unit(target, seed, "race"))
    if race is not None:
        won = bench.result(arm_unit(target, seed, race["winner"]))
        found["race"] = None if won is None else _raced(won, race, _embedded_and_ranked(ranked))
    return {policy: record for policy, record in found.items() if record is not None}


def _raced(
    won: Mapping[str, Any], race: Mapping[str, Any], ranking_seconds: float
) -> dict[str, Any]:
    """The winner's record as the race goes on with it: what that has begun was measured in the
    race, when it was the winner's turn, and is not paid again. Seconds are since the race's end.

    Raises:
        ValueError: the race saw another beginning than the winner's own arm.
    """
    begun, search = race["begun"], won["search"]
    if begun != search["valid"][: len(begun)]:
        raise ValueError(f"race: began with {begun}, the winner's arm with {search['valid']}")
    paid = search["seconds"][len(begun) - 1] if begun else 0.0

    def later(times: Sequence[float]) -> list[float]:
        return [max(0.0, each - paid) for each in times]

    over = ranking_seconds + race["race_seconds"]
    measured = [each - over for each in _moments(race, ranking_seconds)][: len(begun)]
    return {
        **won,
        "race_seconds": race["race_seconds"],
        "search": {**search, "seconds": measured + later(search["seconds"])[len(measured) :]},
        "retrain": {**won["retrain"], "seconds": later(won["retrain"]["seconds"])},
        "seconds": {**won["seconds"], "search": won["seconds"]["search"] - paid},
    }


def _moments(race: Mapping[str, Any], ranking_seconds: float) -> list[float]:
    """When the race has measured its winner's start and each epoch after it, since the upload;
    the first contestant that a ranking must find waits for that."""
    spent, found, ranked = 0.0, list[float](), False
    for rung in race["rungs"]:
        for each in rung["standings"]:
            if not ranked and each["name"] not in _UNRANKED:
                spent, ranked = spent + ranking_seconds, True
            spent += each["seconds"]
            if each["name"] == race["winner"]:
                found += [spent] * (rung["epochs"] + 1 - len(found))
    return found


def _row(
    which: tuple[str, int, str],
    record: Mapping[str, Any],
    cold: Mapping[str, Any],
    lead: float,
    order: Mapping[str, float],
) -> Row:
    target, seed, policy = which
    unit = record.get("source")
    source = None if unit is None else unit.split("/")[-1]
    result, reference = record["retrained"], cold["retrained"]
    difference, error = paired(_hits(result["right"]), _hits(reference["right"]))
    total = lead + sum(record["seconds"].values())
    wanted = reference["test_accuracy"]
    reached = _first(record["retrain"]["seconds"], _tests(record), wanted)
    whole = _first(cold["retrain"]["seconds"], _tests(cold), wanted)
    model = None if reached is None else lead + reached
    return Row(
        target=target,
        seed=seed,
        policy=policy,
        source=source,
        distance=order.get(source or ""),
        retrained_test=result["test_accuracy"],
        retrained_difference=difference,
        retrained_error=error,
        model_seconds=model,
        model_ratio=ratio(whole or math.inf, model),
        lead_seconds=lead,
        total_seconds=total,
        **_derived(record, cold),
        **({} if policy in STRAIGHT else _searched(record, cold, lead)),
    )


def _derived(record: Mapping[str, Any], cold: Mapping[str, Any]) -> dict[str, Any]:
    if "supernet" not in record:
        return {}
    supernet = record["supernet"]["test_accuracy"]
    return {
        "supernet_test": supernet,
        "supernet_difference": supernet - cold["supernet"]["test_accuracy"],
        "discretised_test": record["discretised"]["test_accuracy"],
        "scored_test": record["scored"],
        "random_inherited_test": fmean(record["random_inherited"]),
    }


def _searched(record: Mapping[str, Any], cold: Mapping[str, Any], lead: float) -> dict[str, Any]:
    if "search" not in record:
        return {}
    own, reference = record["search"], cold["search"]
    found = dict[str, Any]()
    for share in (95, 100):
        wanted = share / 100 * max(reference["valid"])
        epochs = _first(own["epochs"], own["valid"], wanted)
        seconds = _first(own["seconds"], own["valid"], wanted)
        cold_epochs = _first(reference["epochs"], reference["valid"], wanted) or 0
        cold_seconds = _first(reference["seconds"], reference["valid"], wanted) or 0
        paid = None if seconds is None else lead + seconds
        counted = None if epochs is None else epochs + _START
        found[f"epochs_{share}"], found[f"seconds_{share}"] = epochs, paid
        found[f"ratio_{share}"] = ratio(cold_seconds, paid)
        found[f"epoch_ratio_{share}"] = ratio(cold_epochs + _START, counted)
    for axis, offset in (("seconds", lead), ("epochs", 0.0)):
        end = float(reference[axis][-1])
        times = [offset + each for each in own[axis]]
        ahead = mean_held(times, own["valid"], end, 0.0)
        found[f"ahead_{axis}"] = ahead - mean_held(reference[axis], reference["valid"], end, 0.0)
    return found


def _tests(record: Mapping[str, Any]) -> list[float]:
    """Test accuracies by epoch of retraining, the last as it is reported."""
    return [*record["retrain"]["test"][:-1], record["retrained"]["test_accuracy"]]


def _first(times: Sequence[float], values: Sequence[float], wanted: float) -> float | None:
    return next((t for t, v in zip(times, values, strict=True) if v >= wanted), None)


def _hits(spelled: str) -> torch.Tensor:
    return torch.tensor([digit == "1" for digit in spelled])


def searched_curves(bench: Bench, target: str, seeds: int) -> dict[str, list[dict[str, Any]]]:
    """By policy the supernets' curves, one for each seed, with what to hold them against: the
    seconds of the whole cold search and the best accuracy of it."""
    found = dict[str, list[dict[str, Any]]]()
    ranked = bench.result(distance_unit(target))
    for seed in range(seeds):
        records = _records(bench, target, seed)
        if "cold" not in records:
            continue
        cold = records["cold"]["search"]
        for policy, record in records.items():
            if "search" not in record or policy in STRAIGHT:
                continue
            lead = _lead(policy, record, ranked)
            found.setdefault(policy, []).append(
                {
                    "seconds": [lead + each for each in record["search"]["seconds"]],
                    "valid": record["search"]["valid"],
                    "whole": cold["seconds"][-1],
                    "best": max(cold["valid"]),
                }
            )
    return found


def _lead(policy: str, record: Mapping[str, Any], ranked: Mapping[str, Any]) -> float:
    """Seconds of ranking and racing, which a policy pays before its search."""
    spent = float(record.get("race_seconds", 0.0))
    return spent + (_embedded_and_ranked(ranked) if policy in RANKED else 0.0)


def _embedded_and_ranked(ranked: Mapping[str, Any]) -> float:
    return float(ranked["embed_seconds"] + ranked["rank_seconds"])
