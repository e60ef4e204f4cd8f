"""Whether cells that a subset search chooses at a wanted size beat those of other choices.

Run from the project root::

    python -m tests.benchmarks.bench_edges SUITE [--tasks NAME ...] [--seeds 3] [--jobs 1]

SUITE is a folder of TASK.zip archives. A size is a place between the parameters of the space's
smallest (0) and largest (1) cells. At each, these cells are trained from fresh weights, alike, and
measured on the test images: those that a search for a subset of a supernet's operations
(`core.nas.pruning.edge_ops`) ends with at that size; those that the alphas of a first-order DARTS
search of as many epochs prefer once parameters are priced to fit. Neither meets a size to the
parameter, so each is beside cells at random of the size that it has. What is finished lies in
``var/bench``; a process has one thread.
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

from core.nas.genotype import Genotype
from core.nas.network import Network
from core.nas.objectives import parameter_costs
from core.nas.pruning.edge_ops import EdgeComponents
from core.nas.pruning.subset import search
from core.nas.pruning.subset_config import SubsetConfig
from core.nas.search import SearchConfig, SearchState, run
from core.nas.selection.variation import uniform_sample
from tests.benchmarks.bench_refinement import extremes
from tests.benchmarks.evolution.kept import Kept, retrained
from tests.benchmarks.results import Rows, conclude, lead, whole
from tests.benchmarks.transfer.spelling import table
from tests.benchmarks.units import Unit, finish

ROOT = Path("var/bench/edges")
TASKS = ("fashion", "hiragana", "sprites_terrain", "texture_patches")
SUBSET, ALPHAS = "subset", "alphas"
ARMS = {SUBSET: "by a search for a subset", ALPHAS: "by alphas, parameters priced"}
DRAWN, TRAINED = 2000, 2  # random cells: those nearest in size are trained


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that decides a result but task, seed, arm and size.

    Args:
        side: Pixels.
        images: Train images of a task, at most.
        channels: Of the first cells.
        epochs: Of every search.
        retraining: Epochs of the cells, from fresh weights.
    """

    side: int = 16
    images: int = 500
    channels: int = 4
    epochs: int = 10
    retraining: int = 10
    version: int = 1


class Edges(Kept):
    """Measures arms, and keeps what each found in a file of its own."""

    def units(self, tasks: Sequence[str], seeds: int, sizes: Sequence[float]) -> Iterator[Unit]:
        """Everything to measure, seed after seed."""
        for seed in range(seeds):
            for task in tasks:
                for size in sizes:
                    for arm in ARMS:
                        part = partial(_arm, task=task, seed=seed, arm=arm, size=size)
                        yield Unit(named(task, seed, arm, size), arm, part)

    def arm(self, task: str, seed: int, arm: str, size: float) -> dict[str, Any]:
        """Test accuracy and parameters of what an arm chooses at that size, and of chance."""
        images, test = self.images(task, seed)
        supernet = self.fresh(images.classes, seed)
        components = EdgeComponents(supernet, parameter_costs(supernet.space, images.classes))
        low, high = extremes(components.costs)
        wanted = low + size * (high - low)
        halves = images.halves(seed)
        training = {
            "epochs": self.settings["epochs"], "batch_size": 32, "learning_rate": 0.05,
            "seed": seed,
        }  # fmt: skip
        if arm == SUBSET:
            config = SubsetConfig(target=wanted / components.whole, **training)
            mask = search(components, *halves, config).mask
        else:
            searched = self.fresh(images.classes, seed)
            config_of = SearchConfig(alpha_learning_rate=3e-3, **training)
            for _ in run(SearchState(searched), *halves, config_of):
                pass
            alphas = searched.alphas()
            scores = torch.cat(
                [alphas[kind].detach().softmax(dim=-1).flatten() for kind in components.sizes]
            )
            mask = components.fit(scores, wanted / components.whole)
        chosen = components.genotype(mask.double())
        size_of = components.costs.cost
        drawing = torch.Generator().manual_seed(seed)
        drawn = [uniform_sample(supernet.space, drawing) for _ in range(DRAWN)]
        drawn.sort(key=lambda each: abs(size_of(each) - size_of(chosen)))

        def worth(genotype: Genotype) -> float:
            generator = torch.Generator().manual_seed(seed)
            network = Network(supernet.space, genotype, images.classes, generator)
            return retrained(network, images, test, epochs=self.settings["retraining"], seed=seed)

        return {
            "test": worth(chosen),
            "chance": fmean(worth(each) for each in drawn[:TRAINED]),
            "size": size_of(chosen) / wanted,
            "size of chance": fmean(size_of(each) for each in drawn[:TRAINED]) / wanted,
        }


def named(task: str, seed: int, arm: str, size: float) -> str:
    """The unit of an arm at a size."""
    return f"{task}-{seed}-{arm}-{size:g}"


def _arm(bench: Edges, task: str, seed: int, arm: str, size: float) -> dict[str, Any]:
    return bench.arm(task, seed, arm, size)


def compared(found: Rows) -> str:
    """Every arm's means, and its lead over chance."""
    body = []
    for arm, name in ARMS.items():
        own = [row[arm] for row in found.values()]
        ahead = lead(found, fmean, partial(_ahead, arm=arm))
        figures = [100 * fmean(each[key] for each in own) for key in ("test", "chance")]
        sizes = [fmean(each[key] for each in own) for key in ("size", "size of chance")]
        body.append(
            (
                name,
                *(f"{each:.1f}" for each in figures),
                *(f"{each:.2f}" for each in sizes),
                str(ahead),
                ahead.balance,
                ahead.tasks_won,
            )
        )
    head = ("cells", "test", "chance", "size", "its", "over chance", "won-lost", "tasks")
    return table(head, body)


def _ahead(row: Mapping[str, Any], arm: str) -> float:
    return float(row[arm]["test"] - row[arm]["chance"])


def main() -> None:
    """Measure what is missing, and print a table for each size."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("suite", type=Path)
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sizes", nargs="+", type=float, default=(0.15, 0.4))
    for name in ("images", "epochs", "retraining"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Settings(), name))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--jobs", type=int, default=1)
    given = vars(parser.parse_args())
    suite, tasks, seeds, sizes, device, jobs = (
        given.pop(name) for name in ("suite", "tasks", "seeds", "sizes", "device", "jobs")
    )
    bench = Edges(suite, ROOT, asdict(Settings(**given)), device)
    failed = finish(bench, list(bench.units(tasks, seeds, sizes)), jobs)
    for size in sizes:

        def units(task: str, seed: int, size: float = size) -> dict[str, str]:
            return {arm: named(task, seed, arm, size) for arm in ARMS}

        found = whole(bench, tasks, seeds, units)
        print(f"\nAt {size:g} of the way to the largest cells, {len(found)} pairs:\n")
        if found:
            print(compared(found))
    conclude(failed)


if __name__ == "__main__":
    main()
