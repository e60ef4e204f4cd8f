"""What a warm start's seconds are best spent on: epochs of search, or of retraining.

Run from the project root::

    python -m tests.benchmarks.bench_spending SUITE [--scale tiny] [--targets NAME ...] [--seeds N]
        [--jobs N]

Every search starts from the supernet of several tasks that the target is none of, which
`bench_transfer` trains too and shares with this benchmark; unless they are named, the targets are
tasks that `bench_transfer` does not measure on. One search is followed to its end; at some epochs
its supernet is derived and retrained in several ways. A table says what each is worth on the test
images, which decide nothing, and what it costs in all, as paired differences to the whole search
with bootstrap intervals over the targets. Finished units are files; a second start goes on where
the first ended. Written: var/bench/spending.json.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import Any

from core.domain.searches import RATE
from core.nas import search
from core.nas.derive import derive
from core.nas.search import SearchState
from core.pipelines import bilevel, derivation
from tests.benchmarks.transfer import arms, plan, pretraining
from tests.benchmarks.transfer.resampling import interval
from tests.benchmarks.transfer.settings import SCALES, Bench
from tests.benchmarks.transfer.spelling import bracket, points
from tests.benchmarks.transfer.spelling import table as spelled
from tests.benchmarks.transfer.tasks import deal, spread_over_domains
from tests.benchmarks.units import Unit

ROOT, RESULT = Path("var/bench/transfer"), Path("var/bench/spending.json")
_TARGETS = 8  # where none is named


@dataclass(frozen=True, slots=True)
class Spending:
    """So much of a search, and what of the rest goes into retraining.

    Args:
        searched: Share of the search's epochs.
        more: Epochs of retraining for each epoch left, beside those that there are in any case.
        rate: Of the retraining.
        solved: Whether its head is solved after every epoch.
    """

    searched: float
    more: int = 2
    rate: float = 0.05
    solved: bool = False

    @property
    def name(self) -> str:
        """Of its row."""
        told = f"{self.searched:.0%} searched, {self.more} more for one, rate {self.rate:g}"
        return f"{told}, head solved" if self.solved else told


BASELINE = Spending(1.0)
SPENDINGS = (
    BASELINE,
    *(Spending(share) for share in (0.0, 0.1, 0.2, 0.4)),
    Spending(0.2, more=0),
    Spending(0.2, more=5),
    *(Spending(0.2, rate=rate) for rate in (0.025, 0.1, 0.2)),
    Spending(0.2, rate=0.1, solved=True),
)


def measure(bench: Bench, *, name: str, seed: int) -> dict[str, Any]:
    """One search, and what becomes of it where it stops."""
    on, spec, clock = arms.target(bench, name, seed), bench.spec(seed), bench.clock
    train, valid = on.images.halves(seed)
    config = bilevel.configure(spec.training, RATE, head=spec.head)
    began = clock()
    origin = pretraining.load(bench, _shared(bench, name), name)
    state = bilevel.start(origin, train, valid, config, head=spec.head)
    spent, found = clock() - began, dict[str, Any]()
    for record, seconds in arms.timed(search.run(state, train, valid, config), clock):
        spent += seconds
        for each in SPENDINGS:
            if record.epoch == round(each.searched * bench.scale.epochs):
                found[each.name] = _modelled(bench, on, state, each, spent)
    return found


def _modelled(
    bench: Bench, on: arms.Target, state: SearchState, how: Spending, spent: float
) -> dict[str, float]:
    spec, started = bench.spec(on.seed), bench.clock()
    genotype = derive(state.supernet, state.method.preference, max_skips=spec.training.max_skips)
    derived = derivation.derive(state.supernet, genotype, on.images, on.test, spec)
    spent += bench.clock() - started
    left = bench.scale.epochs - round(how.searched * bench.scale.epochs)
    config = replace(
        derivation.configure(spec),
        epochs=bench.scale.retrain_epochs + how.more * left,
        learning_rate=how.rate,
        solve_head=how.solved,
    )
    curve = arms.retrained(bench, on, derived.state, config, spent)
    model = arms.final(derived.state.result(), on, bench.scale.batch_size)
    return {"test": model["test_accuracy"], "seconds": curve["seconds"][-1]}


def _shared(bench: Bench, target: str) -> str:
    return f"shared/fold-{deal(bench.domains, bench.scale.folds)[target]}"


def unit(target: str, seed: int) -> str:
    """Where a result lies."""
    return f"spending/{target}-{seed}"


def units(bench: Bench, targets: Sequence[str], seeds: int) -> Iterator[Unit]:
    """The sources, then the searches, seed by seed."""
    for name in sorted({_shared(bench, target) for target in targets}):
        fold = int(name.removeprefix("shared/fold-"))
        yield Unit(name, "shared", partial(pretraining.together, fold=fold))
    for seed in range(seeds):
        for target in targets:
            needs = (_shared(bench, target),)
            own = partial(measure, name=target, seed=seed)
            yield Unit(unit(target, seed), "spending", own, needs)


def summary(bench: Bench, targets: Sequence[str], seeds: int) -> dict[str, Any]:
    """For every spending its accuracy, the difference to the baseline's, and the seconds."""
    found = dict[str, Any]()
    for how in SPENDINGS:
        groups, tests, ratios = list[list[float]](), list[float](), list[float]()
        for target in targets:
            own = [bench.result(unit(target, seed)) for seed in range(seeds)]
            pairs = [(each[how.name], each[BASELINE.name]) for each in own if each is not None]
            if pairs:
                groups.append([mine["test"] - base["test"] for mine, base in pairs])
                tests += [mine["test"] for mine, _ in pairs]
                ratios += [mine["seconds"] / base["seconds"] for mine, base in pairs]
        if groups:
            found[how.name] = {
                "searches": len(tests),
                "test": fmean(tests),
                "difference": fmean(value for group in groups for value in group),
                "interval": interval(groups, fmean),
                "seconds": median(ratios),
            }
    return found


def table(found: Mapping[str, Any]) -> str:
    """Markdown, in points."""
    body = [
        (
            name,
            str(row["searches"]),
            f"{100 * row['test']:.1f}",
            f"{points(row['difference'])} {bracket(row['interval'], points)}",
            f"x{row['seconds']:.2f}",
        )
        for name, row in found.items()
    ]
    return spelled(("spending", "searches", "test", "difference", "seconds in all"), body)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("suite", type=Path)
    parser.add_argument("--scale", choices=SCALES, default="tiny")
    parser.add_argument("--targets", nargs="+", default=[])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    return parser.parse_args()


def main() -> None:
    """Measure what is not measured yet; print the table."""
    given = parse()
    bench = Bench(given.suite, ROOT, SCALES[given.scale], "cpu")
    held = spread_over_domains(bench.domains, bench.scale.targets)
    others = {name: domain for name, domain in bench.domains.items() if name not in held}
    targets = given.targets or spread_over_domains(others, _TARGETS)
    plan.work(bench, list(units(bench, targets, given.seeds)), given.jobs)
    found = summary(bench, targets, given.seeds)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps({"targets": list(targets), "spendings": found}, indent=1))
    print(table(found))


if __name__ == "__main__":
    main()
