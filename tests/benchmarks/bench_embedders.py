r"""Which embedder puts tasks of one domain next to each other.

Run from the project root::

    python -m tests.benchmarks.bench_embedders SUITE \
        [--trunks FOLDER] [--otdd] [--rank] [--resnet18 FILE] [--only NAME ...]

SUITE is a folder of TASK.zip archives (train/CLASS/IMAGE.png) and a suite.json that names the
``task`` and the ``domain`` of each. For every task that has another of its domain: is one of that
domain the nearest (top-1), or among the three nearest (top-3)? Of 300 images of each task,
distances are between class Gaussians, and with ``--otdd`` also between 256 samples. "Perturbed":
every other task inverted, every third at 16 pixels. ``--rank`` asks what a user is shown: all
train images, ranked with the settings of a rank job. ``--trunks`` adds trunks of supernets,
trained first unless they lie in FOLDER (some 25 minutes of one core), each scored on tasks of
domains it was not trained on, above the default on the same tasks. ``--resnet18 FILE`` adds its
ImageNet weights.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch

from core.ot import ranking
from core.ot.dataset_distance import DatasetDistance, OTDDConfig, class_distance, otdd
from core.ot.embedded_dataset import EmbeddedDataset, build
from core.ot.embedders import Embedder
from core.ot.oriented_energy import OrientedEnergy
from core.ot.resnet_embedder import ResNet18
from core.ot.source_block import concatenate, summarise
from core.pipelines.compare_datasets import CONFIG, SEARCH_BUDGET, SEARCH_K
from tests.benchmarks.embedders.models import (
    RECIPES,
    Gridless,
    Joined,
    Pixels,
    random_resnet,
    trunk,
)
from tests.benchmarks.embedders.tasks import Task, perturbed, read_suite

IMAGES = 300  # of each task
SAMPLES = 256
Measure = Callable[[EmbeddedDataset, EmbeddedDataset], DatasetDistance]
Orders = Sequence[Sequence[int]]  # for each task the others, nearest first
Places = Mapping[str, tuple[int, str]]


@dataclass(frozen=True)
class Result:
    """How an embedder did: by measure, where the first of each task's kin came, and who was first.

    `seconds` are of CPU, to embed 1,000 images.
    """

    dimension: int
    seconds: float
    places: Mapping[str, Places]


def embed_all(model: Embedder, tasks: Sequence[Task]) -> tuple[list[EmbeddedDataset], float]:
    """Every task, and CPU seconds for 1,000 images."""
    seconds, found = 0.0, []
    for task in tasks:
        began = time.process_time()
        features = model.embed(task.images)
        seconds += time.process_time() - began
        found.append(build(features, task.labels, task.classes, embedder=model.identifier))
    return found, 1000 * seconds / sum(len(task.images) for task in tasks)


def by_distance(embedded: Sequence[EmbeddedDataset], measure: Measure) -> Orders:
    """Orders by the distance of every pair, which is symmetric."""
    table = torch.full((len(embedded), len(embedded)), torch.inf, dtype=torch.float64)
    for row, first in enumerate(embedded):
        for column in range(row):
            found = measure(first, embedded[column]).distance
            table[row, column] = table[column, row] = found
    return [row.argsort(stable=True)[:-1].tolist() for row in table]


def by_rank(embedded: Sequence[EmbeddedDataset]) -> Orders:
    """Orders as a rank job finds them: estimates, and measurements of the likely nearest."""
    block = concatenate([summarise(each, samples=CONFIG.samples) for each in embedded])
    orders = []
    for row, target in enumerate(embedded):
        others = np.delete(np.arange(len(embedded)), row)
        found = ranking.rank(
            target,
            block,
            embedded.__getitem__,
            CONFIG,
            k=SEARCH_K,
            budget=SEARCH_BUDGET,
            allowed=others,
        )
        orders.append([each.row for each in found.neighbours])
    return orders


def places(orders: Orders, tasks: Sequence[Task]) -> Places:
    """By task that has kin: at which place the first of its kin is, and the nearest's domain."""
    found = {}
    for task, order in zip(tasks, orders, strict=True):
        domains = [tasks[at].domain for at in order]
        if task.domain in domains:
            found[task.name] = (domains.index(task.domain) + 1, domains[0])
    return found


def evaluate(
    model: Embedder, tasks: Sequence[Task], whole: Sequence[Task], *, with_otdd: bool
) -> Result:
    """Embed everything, compare all pairs; `whole` is what to rank, if anything."""
    embedded, seconds = embed_all(model, tasks)
    changed, _ = embed_all(model, perturbed(tasks))
    orders = {
        "classes": by_distance(embedded, class_distance),
        "perturbed": by_distance(changed, class_distance),
    }
    if with_otdd:
        config = OTDDConfig(samples=SAMPLES)
        orders["otdd"] = by_distance(embedded, lambda a, b: otdd(a, b, config))
    if whole:
        orders["rank"] = by_rank(embed_all(model, whole)[0])
    found = {name: places(order, tasks) for name, order in orders.items()}
    return Result(model.dimension, seconds, found)


def unseen(name: str, tasks: Sequence[Task]) -> list[Task]:
    """Tasks with kin, of domains that no part of this embedder was trained on."""
    known = {task for part in name.split("+") for task in RECIPES.get(part, ((),))[0]}
    trained = {task.domain for task in tasks if task.name in known}
    sizes = Counter(task.domain for task in tasks)
    return [task for task in tasks if sizes[task.domain] > 1 and task.domain not in trained]


def score(found: Places, chosen: Sequence[Task]) -> str:
    """Shares of the tasks that have kin nearest, and among the three nearest."""
    if not chosen:
        return "-"
    shares = [sum(found[t.name][0] <= k for t in chosen) / len(chosen) for k in (1, 3)]
    return " / ".join(f"{share:.2f}" for share in shares)


def report(name: str, result: Result, chosen: Sequence[Task]) -> None:
    """One row of the table."""
    crowd = Counter(task.domain for task in chosen).most_common(1)[0][0]
    few = [task for task in chosen if task.domain != crowd]
    cells = [name, str(result.dimension), f"{result.seconds:.2f}", str(len(chosen))]
    for measure in ("classes", "perturbed", "otdd", "rank"):
        found = result.places.get(measure)
        cells += ["-", "-"] if found is None else [score(found, chosen), score(found, few)]
    print(f"| {' | '.join(cells)} |", flush=True)


def confusion(result: Result, chosen: Sequence[Task]) -> None:
    """By measure and domain: of which domains the nearest tasks are, and how far off the kin."""
    for measure, found in result.places.items():
        for domain in sorted({task.domain for task in chosen}):
            own = [found[task.name] for task in chosen if task.domain == domain]
            counts = Counter(nearest for _, nearest in own).most_common()
            listed = ", ".join(f"{other} {count}" for other, count in counts)
            reached = sum(place <= 3 for place, _ in own)
            print(f"    {measure}: {domain}: {listed}; top-3 {reached} of {len(own)}", flush=True)


def candidates(
    arguments: argparse.Namespace, tasks: Sequence[Task], scratch: Path
) -> Mapping[str, Callable[[], Embedder]]:
    """How to make each embedder, by the name of its row."""
    makers: dict[str, Callable[[], Embedder]] = {
        "pixels": Pixels,
        OrientedEnergy.name: OrientedEnergy,
        "gridless": Gridless,
        "random-resnet18": lambda: random_resnet(scratch),
    }
    if arguments.resnet18:
        makers["resnet18"] = lambda: ResNet18(arguments.resnet18)
    if arguments.trunks:
        arguments.trunks.mkdir(parents=True, exist_ok=True)
        for name in RECIPES:
            makers[name] = partial(_trunk, name, arguments)
            makers[f"{OrientedEnergy.name}+{name}"] = partial(_joined, name, arguments, tasks)
    return makers


def _trunk(name: str, arguments: argparse.Namespace) -> Embedder:
    return trunk(name, read_suite(arguments.suite), arguments.trunks)


def _joined(name: str, arguments: argparse.Namespace, tasks: Sequence[Task]) -> Embedder:
    return Joined((OrientedEnergy(), _trunk(name, arguments)), [task.images for task in tasks])


def run(arguments: argparse.Namespace, scratch: Path) -> None:
    """Every embedder asked for: its row, the default's on the same tasks, and its confusions."""
    tasks = read_suite(arguments.suite, IMAGES)
    whole = read_suite(arguments.suite) if arguments.rank else []
    makers = candidates(arguments, tasks, scratch)

    @cache
    def result(name: str) -> Result:
        return evaluate(makers[name](), tasks, whole, with_otdd=arguments.otdd)

    for name in (each for each in makers if not arguments.only or each in arguments.only):
        found, chosen = result(name), unseen(name, tasks)
        report(name, found, chosen)
        if len(chosen) < len(unseen(OrientedEnergy.name, tasks)):
            report(f"{OrientedEnergy.name} on these", result(OrientedEnergy.name), chosen)
        confusion(found, chosen)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("suite", type=Path, nargs="?")
    parser.add_argument("--trunks", type=Path)
    parser.add_argument("--resnet18", type=Path)
    parser.add_argument("--otdd", action="store_true")
    parser.add_argument("--rank", action="store_true")
    parser.add_argument("--only", nargs="*", default=[])
    arguments = parser.parse_args()
    if arguments.suite is None:  # `make bench` has no suite to give
        print("skipped: it needs the folder of a suite (see the module's docstring)")
        return
    torch.set_num_threads(1)
    measures = ("classes", "perturbed", "OTDD", "rank")
    headings = ["embedder", "features", "CPU s / 1,000", "tasks of unseen domains"]
    headings += [f"{name}{rest}" for name in measures for rest in ("", ", but the largest domain")]
    print(f"| {' | '.join(headings)} |\n{'|---' * len(headings)}|", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        run(arguments, Path(scratch))


if __name__ == "__main__":
    main()
