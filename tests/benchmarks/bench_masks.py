"""Whether a mask that another dataset learned is worth more than one by chance, at equal size.

Run from the project root::

    make bench-masks SUITE=folder [TASKS="fashion kanji"] [SEEDS=3] [SHARE=0.25] [JOBS=1]

SUITE is a folder of TASK.zip archives. Every task searches for a part of a narrow ResNet18, as in
`bench_pruning`. Then each task trains, from fresh weights and all alike, what these masks leave:
its own, that of the nearest other task by dataset distance (as the product ranks them), that of
the farthest, the nearest three combined by nearness, and one by chance. What is finished lies in
``var/bench``, so the run may be cut and go on. Differences are paired by task and seed; intervals
are bootstrap ones over tasks, then seeds. A process has one thread.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from core.nas.pruning.combining import combined, nearness
from core.nas.pruning.components import mask_to_dict
from core.ot import embedded_dataset, embedders, ranking
from core.ot.embedded_dataset import EmbeddedDataset
from core.ot.source_block import concatenate, summarise
from core.pipelines.compare_datasets import CONFIG, SEARCH_BUDGET
from core.pipelines.embed_dataset import BATCH
from core.pipelines.mask_choice import VOTERS
from tests.benchmarks.bench_pruning import TASKS
from tests.benchmarks.pruning.measuring import RANDOM, SEARCHED, Pruning, Settings, named
from tests.benchmarks.results import Rows, conclude, lead, whole
from tests.benchmarks.suite import read_parts
from tests.benchmarks.transfer.spelling import table
from tests.benchmarks.units import Unit, finish

ROOT = Path("var/bench/masks")
LEARNED = "learned"
NEAREST, FARTHEST, COMBINED = "nearest", "farthest", "combined"
ARMS = {
    SEARCHED: "its own",
    NEAREST: "the nearest task's",
    COMBINED: f"the nearest {VOTERS} combined",
    FARTHEST: "the farthest task's",
    RANDOM: "by chance",
}


class Masks(Pruning):
    """Measures what masks of other tasks are worth."""

    def everything(self, tasks: Sequence[str], seeds: int, share: float) -> Iterator[Unit]:
        """Everything to measure: distances first, then seed after seed."""
        embedded = tuple(f"embedding-{task}" for task in tasks)
        for task, name in zip(tasks, embedded, strict=True):
            yield Unit(name, "embedding", partial(_embed, task=task))
        for task in tasks:
            others = [each for each in tasks if each != task]
            part = partial(_rank, task=task, others=others)
            yield Unit(f"order-{task}", "order", part, embedded)
        for seed in range(seeds):
            learned = {task: named(task, seed, LEARNED, share) for task in tasks}
            for task, name in learned.items():
                yield Unit(name, LEARNED, partial(_learn, task=task, seed=seed, share=share))
            for arm in ARMS:
                for task in tasks:
                    part = partial(_train, task=task, seed=seed, arm=arm, share=share)
                    needs = (f"order-{task}", *learned.values())
                    yield Unit(named(task, seed, arm, share), arm, part, needs)

    def embed(self, task: str) -> dict[str, Any]:
        """All train images of a task, by the product's default embedder."""
        part = read_parts(self.suite, task, ("train",))["train"]
        model = embedders.create(device=self.device)
        features = model.embed(part.images, batch_size=BATCH)
        found = embedded_dataset.build(
            features, part.labels, part.classes, embedder=model.identifier
        )
        with self.writing(f"embedding-{task}.safetensors") as path:
            save_file(found.to_tensors(), path)
        return {}

    def rank(self, task: str, others: Sequence[str]) -> dict[str, Any]:
        """The other tasks, nearest first."""
        sources = [self._embedded(each) for each in others]
        block = concatenate([summarise(each, samples=CONFIG.samples) for each in sources])
        order = ranking.rank(
            self._embedded(task), block, sources.__getitem__, CONFIG,
            k=len(others), budget=SEARCH_BUDGET,
        ).neighbours  # fmt: skip
        return {
            "order": [others[each.row] for each in order],
            "distances": [each.distance for each in order],
        }

    def learn(self, task: str, seed: int, share: float) -> dict[str, Any]:
        """The mask that a task's images choose, and the scores that the search ended with."""
        components = self._components(self._fresh(task, seed))
        found = self._searched(components, self.images(task, seed)[0], seed, share)
        scores = list(found.history[-1].theta)
        return {"mask": mask_to_dict(found.mask, components.sizes), "scores": scores}

    def _embedded(self, task: str) -> EmbeddedDataset:
        path = self.folder / f"embedding-{task}.safetensors"
        return embedded_dataset.from_tensors(load_file(path))

    def _mask(self, task: str, seed: int, arm: str, share: float) -> dict[str, list[int]]:
        """What was learned on this task or others; by chance as the benchmark of searched ones."""
        if arm == RANDOM:
            return super()._mask(task, seed, arm, share)
        ranked = self.result(f"order-{task}")
        if arm != COMBINED:
            order = ranked["order"]
            of = {SEARCHED: task, NEAREST: order[0], FARTHEST: order[-1]}[arm]
            mask: dict[str, list[int]] = self._learned(of, seed, share)["mask"]
            return mask
        components = self._components(self._fresh(task, seed))
        voters = [self._learned(each, seed, share) for each in ranked["order"][:VOTERS]]
        votes = [torch.tensor(each["scores"], dtype=torch.float64) for each in voters]
        weights = nearness(ranked["distances"][:VOTERS])
        scores = combined(votes, weights, components.sizes, by_place=False)
        return mask_to_dict(components.fit(scores, share), components.sizes)

    def _learned(self, task: str, seed: int, share: float) -> Any:
        return self.result(named(task, seed, LEARNED, share))


def _embed(bench: Masks, task: str) -> dict[str, Any]:
    return bench.embed(task)


def _rank(bench: Masks, task: str, others: Sequence[str]) -> dict[str, Any]:
    return bench.rank(task, others)


def _learn(bench: Masks, task: str, seed: int, share: float) -> dict[str, Any]:
    return bench.learn(task, seed, share)


def _train(bench: Masks, task: str, seed: int, arm: str, share: float) -> dict[str, Any]:
    return bench.part(task, seed, arm, share)


def compared(found: Rows) -> str:
    """Every arm's mean, its size, and its lead over chance."""
    body = []
    for arm, name in ARMS.items():
        own = [row[arm] for row in found.values()]
        ahead = lead(found, median, partial(_ahead, arm=arm))
        body.append(
            (
                name,
                f"{100 * fmean(each['accuracy'] for each in own):.1f}",
                f"{fmean(each['parameters'] for each in own):.0f}",
                *(("", "", "") if arm == RANDOM else (str(ahead), ahead.balance, ahead.tasks_won)),
            )
        )
    return table(("mask", "test", "parameters", "over chance, median", "won-lost", "tasks"), body)


def _ahead(row: Mapping[str, Any], arm: str) -> float:
    return float(row[arm]["accuracy"] - row[RANDOM]["accuracy"])


def main() -> None:
    """Measure what is missing, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("suite", type=Path)
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--share", type=float, default=0.25)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    bench = Masks(given.suite, ROOT, Settings(), given.device)
    failed = finish(
        bench, list(bench.everything(given.tasks, given.seeds, given.share)), given.jobs
    )
    found = whole(
        bench,
        given.tasks,
        given.seeds,
        lambda task, seed: {arm: named(task, seed, arm, given.share) for arm in ARMS},
    )
    print(f"\nAt {100 * given.share:g} % of the parameters, {len(found)} pairs:\n")
    if found:
        print(compared(found))
    conclude(failed)


if __name__ == "__main__":
    main()
