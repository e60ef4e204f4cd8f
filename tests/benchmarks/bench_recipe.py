"""How to go on from a start: one thing changed at a time.

Run from the project root::

    python -m tests.benchmarks.bench_recipe SUITE [--start multi|cold] [--scale tiny]
        [--targets NAME ...] [--recipes NAME ...] [--seeds N] [--jobs N]

Every search starts from the supernet of several tasks that the target is none of, which
`bench_transfer` trains too and shares with this benchmark, or cold; in both cases with a solved
head. What the product did before this was measured is the baseline. A table says, for every
recipe, what it changes in the mean over the epochs, in the searched supernet, in the derived
network with inherited weights and in the retrained one, as paired differences with bootstrap
intervals over the targets. Finished units are files; a second start goes on where the first
ended. Written: var/bench/recipe-START.json.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch
from torch import Tensor

from core.domain.searches import CAREFUL_RATE, RATE
from core.nas import search, warm_start
from core.nas.derive import derive
from core.nas.evaluate import evaluate
from core.nas.head import fit_head, remove_temperature
from core.nas.normalisation import reestimate
from core.nas.optimisers import Momentum
from core.nas.scores import Diverged
from core.nas.search import SearchConfig, SearchState
from core.nas.space import Space
from core.nas.warm_start import Head, Source
from core.pipelines import bilevel, derivation
from tests.benchmarks.transfer import arms, plan, pretraining
from tests.benchmarks.transfer.resampling import interval
from tests.benchmarks.transfer.settings import SCALES, Bench
from tests.benchmarks.transfer.tasks import deal, spread_over_domains
from tests.benchmarks.units import Unit

ROOT = Path("var/bench/transfer")
COLUMNS = ("curve", "supernet", "discretised", "retrained")
# Before this was measured: of searches, by start, and of retraining.
RATES = {"multi": CAREFUL_RATE, "cold": RATE}
RETRAINING = {"solve_head": False, "learning_rate": CAREFUL_RATE}
_MOST = 256
_TARGETS = 5  # where none is named: every recipe is searched on each, with every seed


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a search from a source does; the defaults are the product's.

    Args:
        head: How the classifier begins.
        cooled: Whether the solved head loses its temperature before descent begins.
        rate: Of the first epoch; None for the product's.
        constant: Whether the rate stays.
        head_factor: How much faster the classifier moves than the trunk.
        head_first: Whether only classifier and alphas move in the first epoch.
        retention: Share of the source's alphas.
        anchor: Pull towards the weights of the start, each step, in units of weight decay.
        weight_decay: Towards zero.
        average: Share that the average of the weights, which is what counts, keeps each step.
        changes: Further settings of the search.
        retraining: Further settings of the retraining.
    """

    head: Head = "closed_form"
    cooled: bool = False
    rate: float | None = None
    constant: bool = False
    head_factor: float = 1.0
    head_first: bool = False
    retention: float = 1.0
    anchor: float = 0.0
    weight_decay: float = 3e-4
    average: float = 0.0
    changes: tuple[tuple[str, Any], ...] = ()
    retraining: tuple[tuple[str, Any], ...] = ()


BASELINE = "solved once, at the start"
SOLVED = ("solve_head", True)
RECIPES: Mapping[str, Recipe] = {
    BASELINE: Recipe(),
    "random head": Recipe(head="random"),
    "head without temperature": Recipe(cooled=True),
    "rate .01": Recipe(rate=0.01),
    "rate .05": Recipe(rate=0.05),
    "rate .1": Recipe(rate=0.1),
    "constant rate": Recipe(constant=True),
    "head ten times faster": Recipe(head_factor=10.0),
    "head and alphas first": Recipe(head_first=True),
    "alphas halved": Recipe(retention=0.5),
    "alphas reset": Recipe(retention=0.0),
    "alpha rate .0003": Recipe(changes=(("alpha_learning_rate", 3e-4),)),
    "L2-SP .003": Recipe(anchor=3e-3),
    "L2-SP .03": Recipe(anchor=3e-2),
    "weight decay .003": Recipe(weight_decay=3e-3),
    "average of weights": Recipe(average=0.9),
    "no augmentation": Recipe(changes=(("augment", "none"),)),
    "one path beside the mixture": Recipe(changes=(("paths", 1),)),
    "solved": Recipe(changes=(SOLVED,)),
    "solved, rate .05": Recipe(rate=0.05, changes=(SOLVED,)),
    "solved, rate .1": Recipe(rate=0.1, changes=(SOLVED,)),
    "solved, rate .2": Recipe(rate=0.2, changes=(SOLVED,)),
    "solved, rate .1, alphas reset": Recipe(rate=0.1, retention=0.0, changes=(SOLVED,)),
    "solved, rate .1, L2-SP .03": Recipe(rate=0.1, anchor=3e-2, changes=(SOLVED,)),
    "solved, rate .1, one path": Recipe(rate=0.1, changes=(SOLVED, ("paths", 1))),
    "retraining solved": Recipe(retraining=(SOLVED,)),
    "retraining solved, rate .1": Recipe(retraining=(SOLVED, ("learning_rate", 0.1))),
    "both solved, rate .1": Recipe(
        rate=0.1, changes=(SOLVED,), retraining=(SOLVED, ("learning_rate", 0.1))
    ),
}


class Descent(Momentum):
    """The product's descent with what a recipe adds to it."""

    def __init__(self, state: SearchState, recipe: Recipe) -> None:
        super().__init__(state.descent.parameters)
        self.recipe, self.state = recipe, state
        head = {id(each) for each in state.supernet.classifier.parameters()}
        self.of_head = [id(each) in head for each in self.parameters]
        self.start = [each.detach().clone() for each in self.parameters]
        self.averages = [each.detach().clone() for each in self.parameters]

    def step(self, gradients: Sequence[Tensor | None], **settings: float) -> None:
        """As `Momentum.step`, then the pull and the average."""
        recipe, trunk_waits = self.recipe, self.recipe.head_first and self.state.epoch == 0
        found: list[Tensor | None] = []
        for gradient, head in zip(gradients, self.of_head, strict=True):
            if gradient is not None and head:
                gradient = gradient * recipe.head_factor
            found.append(None if trunk_waits and not head else gradient)
        super().step(found, **settings)
        with torch.no_grad():
            for parameter, start, average, head in zip(
                self.parameters, self.start, self.averages, self.of_head, strict=True
            ):
                if recipe.anchor and not head:  # descent on anchor/2 |w - start|^2, implicit
                    pull = 1 - 1 / (1 + settings["rate"] * recipe.anchor)
                    parameter.lerp_(start, pull)
                average.lerp_(parameter, 1 - recipe.average)

    @torch.no_grad()
    def exchange(self) -> None:
        """The averages where the weights were, and back."""
        if self.recipe.average:
            for parameter, average in zip(self.parameters, self.averages, strict=True):
                kept = parameter.detach().clone()
                parameter.copy_(average)
                average.copy_(kept)


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant(SearchConfig):
    """A search whose rate stays."""

    def rate(self, epoch: int, epochs: int | None = None) -> float:
        """The first."""
        return self.learning_rate


def measure(bench: Bench, *, start: str, name: str, seed: int, recipe: Recipe) -> dict[str, Any]:
    """Search, derive and retrain by a recipe; everything is measured on the test images, which
    decide nothing."""
    on, clock, size = arms.target(bench, name, seed), bench.clock, bench.scale.batch_size
    train, valid = on.images.halves(seed)
    began = clock()
    config, state, descent = _begun(bench, on, start, recipe)
    curve = arms.Curve([], [], [])
    spent = clock() - began
    try:
        for record, seconds in arms.timed(search.run(state, train, valid, config), clock):
            began, accuracy = clock(), record.valid_accuracy
            if recipe.average and record.epoch:
                descent.exchange()
                reestimate(state.supernet, train.batches(size))
                accuracy = evaluate(state.supernet, valid, _MOST).accuracy
                descent.exchange()
            spent += seconds + clock() - began
            curve.epochs.append(record.epoch)
            curve.seconds.append(spent)
            curve.valid.append(accuracy)
    except Diverged:
        return {"diverged": len(curve.valid)}
    descent.exchange()
    found = _modelled(bench, on, state, recipe)
    return found | {
        "search": curve.to_dict(),
        "curve": fmean(curve.valid[1:]),
        "seconds": spent,
    }


def _modelled(bench: Bench, on: arms.Target, state: SearchState, recipe: Recipe) -> dict[str, Any]:
    spec = bench.spec(on.seed)
    genotype = derive(state.supernet, state.method.preference, max_skips=spec.training.max_skips)
    derived = derivation.derive(state.supernet, genotype, on.images, on.test, spec)
    config = replace(derivation.configure(spec), **(RETRAINING | dict(recipe.retraining)))
    curve = arms.retrained(bench, on, derived.state, config, 0.0)
    network = derived.state.result()
    return {
        "supernet": derived.figures["supernet"]["test_accuracy"],
        "discretised": derived.figures["discretised"]["test_accuracy"],
        "retrain": curve,
        "retrained": arms.final(network, on, bench.scale.batch_size)["test_accuracy"],
    }


def _begun(
    bench: Bench, on: arms.Target, start: str, recipe: Recipe
) -> tuple[SearchConfig, SearchState, Descent]:
    train, valid = on.images.halves(on.seed)
    rate = RATES[start] if recipe.rate is None else recipe.rate
    settings = asdict(bilevel.configure(bench.spec(on.seed).training, rate))
    settings |= {"guard": None, "weight_decay": recipe.weight_decay, **dict(recipe.changes)}
    config = (Constant if recipe.constant else SearchConfig)(**settings)
    origin: Space | Source = bench.space
    if start == "multi":
        origin = pretraining.load(bench, _shared(bench, on.name), on.name)
    supernet = warm_start.begin(
        origin,
        train.classes,
        train,
        valid,
        head=recipe.head,
        generator=bilevel.generator(on.seed),
        batch_size=config.batch_size,
        alpha_retention=recipe.retention,
    )
    if recipe.cooled:
        solution = fit_head(supernet, train, valid, batch_size=config.batch_size)
        remove_temperature(supernet, solution)
    state = SearchState(supernet)
    descent = Descent(state, recipe)
    state.descent = descent
    return config, state, descent


def _shared(bench: Bench, target: str) -> str:
    return f"shared/fold-{deal(bench.domains, bench.scale.folds)[target]}"


def unit(start: str, recipe: str, target: str, seed: int) -> str:
    """Where a result lies."""
    return f"recipes/{start}/{recipe.replace(' ', '-')}/{target}-{seed}"


def units(
    bench: Bench, start: str, targets: Sequence[str], recipes: Sequence[str], seeds: int
) -> Iterator[Unit]:
    """The sources, then all searches, seed by seed."""
    shared = {_shared(bench, target) for target in targets} if start == "multi" else set()
    for name in sorted(shared):
        fold = int(name.removeprefix("shared/fold-"))
        yield Unit(name, "shared", partial(pretraining.together, fold=fold))
    for seed in range(seeds):
        for target in targets:
            for recipe in recipes:
                of = {"start": start, "name": target, "seed": seed, "recipe": RECIPES[recipe]}
                needs = (_shared(bench, target),) if shared else ()
                name = unit(start, recipe, target, seed)
                yield Unit(name, "recipe", partial(measure, **of), needs)


def summary(
    bench: Bench, start: str, targets: Sequence[str], recipes: Sequence[str], seeds: int
) -> dict[str, Any]:
    """For every recipe the mean difference to the baseline of every column, with its interval."""
    found: dict[str, Any] = {}
    for recipe in recipes:
        groups: dict[str, list[dict[str, float]]] = {}
        diverged, slower = 0, list[float]()
        for target in targets:
            for seed in range(seeds):
                own = bench.result(unit(start, recipe, target, seed))
                base = bench.result(unit(start, BASELINE, target, seed))
                if own is None or base is None:
                    continue
                if "diverged" in own or "diverged" in base:
                    diverged += 1
                    continue
                reference = base if recipe != BASELINE else dict.fromkeys(COLUMNS, 0)
                groups.setdefault(target, []).append(
                    {column: own[column] - reference[column] for column in COLUMNS}
                )
                slower.append(own["seconds"] / base["seconds"])
        if not groups:
            continue
        found[recipe] = {
            "searches": sum(map(len, groups.values())),
            "diverged": diverged,
            "seconds": median(slower),
        }
        for column in COLUMNS:
            values = [[row[column] for row in group] for group in groups.values()]
            found[recipe][column] = fmean(value for group in values for value in group)
            found[recipe][f"{column}_interval"] = interval(values, fmean)
    return found


def table(found: Mapping[str, Any]) -> str:
    """Markdown, in points."""
    lines = [
        f"| recipe | searches | {' | '.join(COLUMNS)} | seconds |",
        f"|---|---|{'---|' * len(COLUMNS)}---|",
    ]
    for recipe, row in found.items():
        cells = []
        for column in COLUMNS:
            low, high = row[f"{column}_interval"] or (math.nan, math.nan)
            if recipe == BASELINE:
                cells.append(f"{100 * row[column]:.1f}")
            else:
                cells.append(f"{100 * row[column]:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]")
        times = f"x{row['seconds']:.2f}"
        lines.append(f"| {recipe} | {row['searches']} | {' | '.join(cells)} | {times} |")
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("suite", type=Path)
    parser.add_argument("--start", choices=RATES, default="multi")
    parser.add_argument("--scale", choices=SCALES, default="tiny")
    parser.add_argument("--targets", nargs="+", default=[])
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    return parser.parse_args()


def main() -> None:
    """Measure what is not measured yet; print the table."""
    given = parse()
    bench = Bench(given.suite, ROOT, SCALES[given.scale], "cpu")
    targets = given.targets or spread_over_domains(bench.domains, _TARGETS)
    recipes = list(dict.fromkeys([BASELINE, *given.recipes]))
    plan.work(bench, list(units(bench, given.start, targets, recipes, given.seeds)), given.jobs)
    found = summary(bench, given.start, targets, recipes, given.seeds)
    result = Path(f"var/bench/recipe-{given.start}.json")
    result.parent.mkdir(parents=True, exist_ok=True)
    result.write_text(json.dumps({"targets": list(targets), "recipes": found}, indent=1))
    print(table(found))


if __name__ == "__main__":
    main()
