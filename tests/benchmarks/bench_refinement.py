"""Which way to a set of trade-offs is worth its seconds: present choice, chance, refinement.

Run from the project root::

    python -m tests.benchmarks.bench_refinement SUITE [--tasks NAME ...] [--seeds 3] [--jobs 1]

SUITE is a folder of TASK.zip archives. Every task and seed has one short search; from its supernet
every arm has the same CPU seconds to find cells of small error (inherited weights, head solved,
validation images) and few parameters. Of what each has scored, the four that dominate most area
are retrained for some epochs, and the area that their test errors dominate is compared: error from
0 to 1, parameters from the space's smallest cells (0) to its largest (1). They are retrained from
fresh weights, as the product does with cells that a user picks of a front; ``--weights inherited``
has them go on from what they inherit (of tuned weights, where there are).

Arms: NSGA-II from the derived cells (the product's default), cells at random, NSGA-II from samples
of the alphas, the same by a predictor, with shared weights tuned along the archive, with both (the
product's `refined`), and with weights tuned along random cells. What is finished lies in
``var/bench``; a process has one thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from itertools import count
from math import isfinite
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from scipy.stats import kendalltau

from core.nas.derive import derive
from core.nas.genotype import Genotype
from core.nas.images import LabelledImages, epoch_generator
from core.nas.network import Network
from core.nas.objectives import CostTable, flop_costs, parameter_costs
from core.nas.pareto import Objectives, nsga2, vary_genotypes
from core.nas.refinement import Tuner, child_of, refine, ridge_predictor, samples
from core.nas.search import SearchConfig, SearchState, run
from core.nas.selection.best_of import Proposal, Scorer
from core.nas.selection.variation import choices, uniform_sample
from core.nas.supernet import Supernet
from tests.benchmarks.evolution.area import hypervolume, spread
from tests.benchmarks.evolution.kept import Kept, inherited, retrained
from tests.benchmarks.results import Rows, conclude, lead, whole
from tests.benchmarks.transfer.spelling import table
from tests.benchmarks.units import Unit, finish

ROOT = Path("var/bench/refinement")
# Those that settings were tried on (greek_lower, icons_arrows, sprites_creatures) are not here.
TASKS = (
    "fashion", "hiragana", "icons_ui", "sprites_terrain", "cards_rank", "texture_patches",
)  # fmt: skip
PRESENT, RANDOM = "present", "random"
ARMS = {
    PRESENT: "NSGA-II from the derived cell (`nsga2`)",
    RANDOM: "cells at random",
    "sampled": "NSGA-II from samples of the alphas",
    "predicted": "the same, by a predictor",
    "tuned": "the same, weights tuned along the archive",
    "refined": "both: predictor and tuned weights (`refined`)",
    "strayed": "the same, weights tuned along random cells",
}
CORNER = (1.0, 1.05)
_DRAWS = 90  # stream of `epoch_generator`
Scored = Mapping[Genotype, Objectives]


class OutOfTime(Exception):
    """The seconds of an arm are over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that decides a result but task, seed and arm.

    Args:
        side: Pixels.
        images: Train images of a task, at most.
        channels: Of the first cells.
        epochs: Of the search.
        seconds: CPU seconds of an arm.
        weights: That cells are retrained from: ``fresh`` or ``inherited``.
        retraining: Epochs of each cell.
        cells: Cells retrained per arm, at most.
        steps: Of a tuning, each of two sub-networks.
        rate: Of the tuning.
        cost: What error is traded for.
    """

    side: int = 16
    images: int = 600
    channels: int = 8
    epochs: int = 6
    seconds: float = 20.0
    weights: str = "fresh"
    retraining: int = 15
    cells: int = 4
    children: int = 6
    population: int = 12
    steps: int = 12
    rate: float = 0.02
    cost: str = "parameters"
    version: int = 1


class Refinement(Kept):
    """Measures arms, and keeps what each found in a file of its own."""

    def units(self, tasks: Sequence[str], seeds: int, arms: Sequence[str]) -> Iterator[Unit]:
        """Everything to measure, seed after seed."""
        for seed in range(seeds):
            for task in tasks:
                yield Unit(f"{task}-{seed}", "search", partial(_search, task=task, seed=seed))
            for task in tasks:
                for arm in arms:
                    part = partial(_arm, task=task, seed=seed, arm=arm)
                    yield Unit(f"{task}-{seed}-{arm}", arm, part, (f"{task}-{seed}",))

    def search(self, task: str, seed: int) -> dict[str, Any]:
        """A supernet, kept for the arms."""
        began = time.process_time()
        images, _ = self.images(task, seed)
        supernet = self.fresh(images.classes, seed)
        config = SearchConfig(
            epochs=self.settings["epochs"],
            batch_size=32,
            learning_rate=0.1,
            alpha_learning_rate=3e-3,
            solve_head=True,
            seed=seed,
        )
        *_, last = run(SearchState(supernet), *images.halves(seed), config)
        with self.writing(f"{task}-{seed}.safetensors") as path:
            save_file(supernet.state_dict(), path)
        return {"valid": last.valid_accuracy, "seconds": time.process_time() - began}

    def arm(self, task: str, seed: int, arm: str) -> dict[str, Any]:
        """What an arm finds in its seconds, and what that is worth."""
        images, test = self.images(task, seed)
        supernet = self.fresh(images.classes, seed)
        supernet.load_state_dict(load_file(str(self.folder / f"{task}-{seed}.safetensors")))
        bench = _Arm(supernet, images, seed, self.settings)
        scored = bench.run(arm)
        found = []
        for genotype in spread(scored, self.settings["cells"], CORNER):
            error, cost = scored[genotype]
            network = self.network(supernet, genotype, images, seed)
            accuracy = retrained(
                network, images, test, epochs=self.settings["retraining"], seed=seed
            )
            found.append({"error": error, "cost": cost, "test": accuracy})
        area = hypervolume([(1 - each["test"], each["cost"]) for each in found], CORNER)
        tau = 0.0
        if len(found) > 2:
            tau = kendalltau([-e["error"] for e in found], [e["test"] for e in found]).statistic
        return {
            "area": area / (CORNER[0] * CORNER[1]),
            "best": max(each["test"] for each in found),
            "small": max((e["test"] for e in found if e["cost"] <= 0.1), default=0.0),
            "tau": float(tau) if isfinite(tau) else 0.0,
            "evaluations": bench.evaluations,
            "seconds": bench.seconds,
            "cells": found,
        }

    def network(
        self, supernet: Supernet, genotype: Genotype, images: LabelledImages, seed: int
    ) -> Network:
        """What is retrained."""
        if self.settings["weights"] == "inherited":
            return inherited(supernet, genotype, images, seed)
        generator = torch.Generator().manual_seed(seed)
        return Network(supernet.space, genotype, images.classes, generator).to(self.device)


class _Arm:
    """One arm on one supernet: scores, tunes and looks at the clock."""

    def __init__(
        self, supernet: Supernet, images: LabelledImages, seed: int, settings: Mapping[str, Any]
    ) -> None:
        self.supernet, self.seed, self.settings = supernet, seed, settings
        self.train, self.valid = images.halves(seed)
        space, side = supernet.space, images.images.shape[-1]
        flops = settings["cost"] == "flops"
        self.costs = (
            flop_costs(space, images.classes, side) if flops
            else parameter_costs(space, images.classes)
        )  # fmt: skip
        self.low, self.high = extremes(self.costs)
        self.evaluations, self.seconds = 0, 0.0
        self.scored: dict[Genotype, Objectives] = {}
        self.draws = epoch_generator(seed, 0, _DRAWS)
        self.tuner = Tuner(supernet, self.train, batch_size=32, rate=settings["rate"], seed=seed)

    def run(self, arm: str) -> Scored:
        """Everything that the arm scored when its seconds are over."""
        self.began = time.process_time()
        with suppress(OutOfTime):
            self._go(arm)
        self.seconds = time.process_time() - self.began
        return self.scored

    def _go(self, arm: str) -> None:
        space, size = self.supernet.space, self.settings["population"]
        derived = derive(self.supernet, max_skips=2)
        if arm == PRESENT:
            for _ in nsga2(
                [derived],
                lambda each: (self.error(each), self.cost(each)),
                vary_genotypes,
                population=size,
                evaluations=10**9,
                seed=self.seed,
            ):
                pass
        if arm == RANDOM:
            for _ in count():
                self.error(uniform_sample(space, self.draws))
        tunes: dict[str, Callable[[Sequence[Genotype], int], None]] = {
            "tuned": lambda parents, index: self.tune(partial(child_of, parents), index),
            "refined": lambda parents, index: self.tune(partial(child_of, parents), index),
            "strayed": lambda _, index: self.tune(partial(uniform_sample, space), index),
        }
        for archive in refine(
            [derived, *samples(self.supernet, size - 1, seed=self.seed)],
            self.error,
            lambda each: (self.cost(each),),
            vary_genotypes,
            children=self.settings["children"],
            population=size,
            seed=self.seed,
            predictor=ridge_predictor if arm in ("predicted", "refined") else None,
            tune=tunes.get(arm),
        ):
            self.scored = dict(archive.scored)

    def error(self, genotype: Genotype) -> float:
        """With the shared weights as they are now."""
        if time.process_time() - self.began > self.settings["seconds"]:
            raise OutOfTime
        score = Scorer(self.supernet, self.train, self.valid, seed=self.seed)
        found = 1 - score(Proposal(genotype, "bench")).accuracy
        self.evaluations += 1
        self.scored[genotype] = found, self.cost(genotype)
        return found

    def cost(self, genotype: Genotype) -> float:
        """From the smallest of the space, 0, to the largest, 1."""
        return (self.costs.cost(genotype) - self.low) / (self.high - self.low)

    def tune(self, draw: Callable[[torch.Generator], Genotype], index: int) -> None:
        """Some steps of the shared weights, along what `draw` makes."""
        self.tuner.tune(draw, index, steps=self.settings["steps"])


def extremes(costs: CostTable) -> tuple[float, float]:
    """The costs of the smallest and the largest cells of a space."""
    space = costs.space
    columns = [space.operations.index(name) for name in choices(space.cell)]
    low = high = costs.base
    for kind in space.kinds:
        for node in range(space.nodes):
            rows = [
                [costs.edges[kind][space.edge(node, source)][at] for at in columns]
                for source in range(space.sources(node))
            ]
            low += sum(sorted(map(min, rows))[: space.cell.kept])
            high += sum(sorted(map(max, rows), reverse=True)[: space.cell.kept])
    return low, high


def _search(bench: Refinement, task: str, seed: int) -> dict[str, Any]:
    return bench.search(task, seed)


def _arm(bench: Refinement, task: str, seed: int, arm: str) -> dict[str, Any]:
    return bench.arm(task, seed, arm)


def compared(found: Rows, arms: Sequence[str], reference: str) -> str:
    """Every arm's means, and its lead in area over `reference`."""
    body = []
    for arm in arms:
        own = [row[arm] for row in found.values()]
        ahead = lead(found, fmean, partial(_ahead, arm=arm, reference=reference))
        body.append(
            (
                ARMS[arm],
                *(f"{100 * fmean(e[key] for e in own):.1f}" for key in ("area", "best", "small")),
                f"{fmean(e['evaluations'] for e in own):.0f}",
                f"{fmean(e['seconds'] for e in own):.0f} s",
                f"{fmean(e['tau'] for e in own):+.2f}",
                "" if arm == reference else f"{ahead}, {ahead.balance}",
            )
        )
    head = ("arm", "area", "best test", "test, small cells", "scored", "CPU", "tau")
    return table((*head, f"area - {reference}, mean, won-lost"), body)


def _ahead(row: Mapping[str, Any], arm: str, reference: str) -> float:
    return float(row[arm]["area"] - row[reference]["area"])


def main() -> None:
    """Measure what is missing, and print a table for each reference."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("suite", type=Path)
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--seeds", type=int, default=3)
    for name in ("channels", "epochs", "seconds", "retraining", "images", "steps", "rate"):
        default = getattr(Settings(), name)
        parser.add_argument(f"--{name}", type=type(default), default=default)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=tuple(ARMS))
    parser.add_argument("--weights", choices=("fresh", "inherited"), default="fresh")
    parser.add_argument("--cost", choices=("parameters", "flops"), default="parameters")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--jobs", type=int, default=1)
    given = vars(parser.parse_args())
    suite, tasks, seeds, arms, device, jobs = (
        given.pop(name) for name in ("suite", "tasks", "seeds", "arms", "device", "jobs")
    )
    bench = Refinement(suite, ROOT, asdict(Settings(**given)), device)
    failed = finish(bench, list(bench.units(tasks, seeds, arms)), jobs)
    found = whole(bench, tasks, seeds, lambda task, seed: {a: f"{task}-{seed}-{a}" for a in arms})
    print(f"\n{len(found)} pairs of task and seed:\n")
    for reference in (PRESENT, RANDOM):
        if found and reference in arms:
            print(compared(found, arms, reference) + "\n")
    conclude(failed)


if __name__ == "__main__":
    main()
