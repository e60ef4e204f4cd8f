"""The product's default: a race between the nearest sources, the shared supernet and cold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

from core.domain import effort
from core.nas import standings
from core.nas.race import Contestant, Entry, Race
from core.pipelines import bilevel
from tests.benchmarks.transfer import arms, pretraining
from tests.benchmarks.transfer.arms import Start, Target
from tests.benchmarks.transfer.settings import Bench

COLD = "cold_closed_form"


def run(
    bench: Bench, name: str, seed: int, contestants: Mapping[str, str | None]
) -> dict[str, Any]:
    """Race, and say who won; its own arm has what comes next, after the start where the race
    has `begun` its search.

    `contestants` has the unit of each arm's supernet by arm, in their order; None for cold.
    """
    for unit in filter(None, contestants.values()):
        pretraining.require_unseen(bench, unit, name)  # or it would only lose the race
    on = arms.target(bench, name, seed)
    started = bench.clock()
    race = Race(
        [
            Contestant(arm, partial(_entry, bench, on, unit), cold=unit is None)
            for arm, unit in contestants.items()
        ],
        entrants=len(contestants),
        budget=effort.RACE * bench.scale.epochs,
        method=bench.spec(seed).training.method.value,
        head=bilevel.initial(bench.spec(seed).head),
        seed=seed,
        clock=bench.clock,
    )
    rungs = list(race.rungs())
    verdict = standings.verdict(rungs)
    begun = race.begun(verdict.name)
    return {
        "winner": verdict.name,
        "begun": [] if begun is None else [each.valid_accuracy for each in begun.records],
        "reason": verdict.reason,
        "race_seconds": bench.clock() - started,
        "rungs": [asdict(each) for each in rungs],
    }


def runner_up(bench: Bench, name: str, seed: int, unit: str, race_unit: str) -> dict[str, Any]:
    """The arm of the second nearest source: only where the race chose it, which no other arm
    begins from."""
    if bench.result(race_unit)["winner"] != "second":
        return {"skipped": "the race did not choose it"}
    return arms.run(bench, name, seed, Start(unit))


def _entry(bench: Bench, on: Target, unit: str | None) -> Entry:
    train, valid = on.images.halves(on.seed)
    origin = bench.space if unit is None else pretraining.load(bench, unit, on.name)
    spec = bench.spec(on.seed)
    (rate,) = spec.rates(warm=unit is not None)
    config = bilevel.configure(spec.training, rate, head=spec.head, patience=spec.waits)
    return Entry(origin, train, valid, config)
