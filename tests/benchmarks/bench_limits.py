"""What the strongest cells within a limit are worth, beside others that cost as much.

Run from the project root::

    make bench-limits SUITE=folder [TASKS="fashion kanji"] [SEEDS=3] [JOBS=1]

SUITE is a folder of TASK.zip archives. Of each task a supernet is searched by first-order DARTS.
The strongest cells by its alphas are one end of the range of sizes, the cheapest of the space the
other; in between, at shares of the way in parameters, are the strongest within that limit
(`core.nas.selection.limited`), and cells at random of the size that these have. All have at most
two skip connections in the normal cell, and are trained from fresh weights, alike.
What is finished lies in ``var/bench``; a process has one thread.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from core.nas.derive import derive
from core.nas.genotype import Genotype
from core.nas.network import Network
from core.nas.objectives import parameter_costs
from core.nas.search import SearchConfig, SearchState, run
from core.nas.selection.limited import cheapest, strongest_within
from core.nas.selection.variation import uniform_sample
from tests.benchmarks.evolution.kept import Kept, retrained
from tests.benchmarks.results import Rows, conclude, lead, whole
from tests.benchmarks.transfer.spelling import table
from tests.benchmarks.units import Unit, finish

ROOT = Path("var/bench/limits")
TASKS = ("fashion", "hiragana", "sprites_terrain", "texture_patches")
SHARES = (0.1, 0.25, 0.5)
SKIPS = 2
DRAWN, TRAINED = 4000, 2  # random cells: those nearest in size are trained
KIND = "cells"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that decides a result but task and seed.

    Args:
        side: Pixels.
        images: Train images of a task, at most.
        channels: Of the first cells.
        epochs: Of the search.
        retraining: Of the cells, from fresh weights.
    """

    side: int = 16
    images: int = 500
    channels: int = 4
    epochs: int = 10
    retraining: int = 10
    version: int = 1


class Limits(Kept):
    """Measures the cells of a task, and keeps what was found in a file of its own."""

    def units(self, tasks: Sequence[str], seeds: int) -> Iterator[Unit]:
        """Everything to measure, seed after seed."""
        for seed in range(seeds):
            for task in tasks:
                yield Unit(f"{task}-{seed}", KIND, partial(_cells, task=task, seed=seed))

    def cells(self, task: str, seed: int) -> dict[str, Any]:
        """Test accuracies and parameters, by share of the way to the strongest cells."""
        images, test = self.images(task, seed)
        supernet = self.fresh(images.classes, seed)
        config = SearchConfig(
            epochs=self.settings["epochs"], batch_size=32, learning_rate=0.05,
            alpha_learning_rate=3e-3, seed=seed,
        )  # fmt: skip
        for _ in run(SearchState(supernet), *images.halves(seed), config):
            pass
        costs = parameter_costs(supernet.space, images.classes)
        drawing = torch.Generator().manual_seed(seed)
        drawn = [uniform_sample(supernet.space, drawing) for _ in range(DRAWN)]
        drawn = [each for each in drawn if each.skip_count <= SKIPS]

        def worth(genotype: Genotype) -> float:
            generator = torch.Generator().manual_seed(seed)
            network = Network(supernet.space, genotype, images.classes, generator)
            return retrained(network, images, test, epochs=self.settings["retraining"], seed=seed)

        strongest = derive(supernet, max_skips=SKIPS)
        high, low = (costs.cost(g) for g in (strongest, cheapest(costs, max_skips=SKIPS)))
        found: dict[str, Any] = {"whole": worth(strongest), "parameters": high}
        for share in SHARES:
            most = low + share * (high - low)
            chosen = strongest_within(supernet.strengths(), costs, most, max_skips=SKIPS)
            size = costs.cost(chosen)
            near = sorted(drawn, key=lambda each: abs(costs.cost(each) - size))[:TRAINED]
            found[str(share)] = {
                "within": worth(chosen),
                "chance": fmean(worth(each) for each in near),
                "size": size / high,
                "size of chance": fmean(costs.cost(each) for each in near) / high,
            }
        return found


def _cells(bench: Limits, task: str, seed: int) -> dict[str, Any]:
    return bench.cells(task, seed)


def compared(found: Rows) -> str:
    """By share: sizes of the strongest cells' parameters, accuracies, and paired leads."""

    def over(row: Mapping[str, Any], share: str, other: str) -> float:
        of = row[KIND][share]
        against = row[KIND]["whole"] if other == "whole" else of[other]
        return float(of["within"] - against)

    body = []
    for share in map(str, SHARES):
        means = {
            name: fmean(row[KIND][share][name] for row in found.values())
            for name in ("within", "chance", "size", "size of chance")
        }
        chance, strongest = (
            lead(found, fmean, partial(over, share=share, other=other))
            for other in ("chance", "whole")
        )
        sizes = [f"{means[name]:.2f}" for name in ("size", "size of chance")]
        scores = [f"{100 * means[name]:.1f}" for name in ("within", "chance")]
        body.append((share, *sizes, *scores, str(chance), chance.balance, str(strongest)))
    head = ("of the way", "size", "chance's", "within", "chance", "over chance", "won-lost",
            "over the strongest")  # fmt: skip
    return table(head, body)


def main() -> None:
    """Measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("suite", type=Path)
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--seeds", type=int, default=3)
    for name in ("images", "epochs", "retraining"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Settings(), name))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--jobs", type=int, default=1)
    given = vars(parser.parse_args())
    suite, tasks, seeds, device, jobs = (
        given.pop(name) for name in ("suite", "tasks", "seeds", "device", "jobs")
    )
    bench = Limits(suite, ROOT, asdict(Settings(**given)), device)
    failed = finish(bench, list(bench.units(tasks, seeds)), jobs)
    found = whole(bench, tasks, seeds, lambda task, seed: {KIND: f"{task}-{seed}"})
    if found:
        print(f"\n{len(found)} pairs of task and seed; the strongest cells are size 1:\n")
        print(compared(found))
    conclude(failed)


if __name__ == "__main__":
    main()
