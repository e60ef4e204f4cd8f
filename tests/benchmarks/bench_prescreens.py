"""How well pre-screens rank architectures by what they are worth when trained.

Run from the project root::

    make bench-prescreens SUITE=folder [TASKS="fashion hiragana"] [SEEDS=3] [JOBS=1]

SUITE is a folder of TASK.zip archives. Architectures of DARTS cells of two nodes are drawn at
random (with four, tasks of this size hardly tell them apart), the same for all tasks, and each is
trained from fresh weights; its test accuracy is the mean over seeds of weights, order and train
images. Scores see half of the train images of the first seed, with fresh weights or with those of
a supernet that was searched on the task. Given are Spearman's correlations with that accuracy,
what the best quarter by each score is worth over all, and CPU seconds for one architecture.
Intervals are bootstrap ones over architectures, and over tasks where tasks are averaged. What is
finished lies in ``var/bench``, so a run may be cut and go on. A process has one thread.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from tests.benchmarks.prescreens.measuring import (
    Prescreens,
    Settings,
    scores_of,
    supernet_of,
    trained_of,
)
from tests.benchmarks.results import conclude
from tests.benchmarks.transfer.resampling import LEVEL
from tests.benchmarks.transfer.spelling import bracket, points, signed, table
from tests.benchmarks.units import finish

ROOT = Path("var/bench/prescreens")
# Those that settings were tried on (greek_lower, icons_arrows, sprites_creatures) are not here.
TASKS = ("fashion", "hiragana", "sprites_terrain", "texture_patches")
REFERENCE = "parameters"
DRAWS = 1000
Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """All that is finished for every task.

    Args:
        tasks: Their names, T.
        accuracy: ``[seeds, T, A]``; seeds that are finished for all architectures A here.
        scores: ``[T, A]`` by name.
        seconds: For one architecture, by name.
    """

    tasks: Sequence[str]
    accuracy: Array
    scores: Mapping[str, Array]
    seconds: Mapping[str, float]

    @property
    def worth(self) -> Array:
        """``[T, A]``: mean accuracy over seeds."""
        mean: Array = self.accuracy.mean(axis=0)
        return mean


def gathered(bench: Prescreens, tasks: Sequence[str], seeds: int) -> Found | None:
    """What is finished; None without a training and scores of some architectures, in all tasks."""
    count = bench.settings["architectures"]
    whole = [
        at
        for at in range(count)
        if all(
            bench.result(unit) is not None
            for task in tasks
            for unit in (trained_of(task, at, 0), scores_of(task, at))
        )
    ]
    if len(whole) < 3:
        return None
    trained = [
        [[bench.result(trained_of(task, at, seed)) for at in whole] for task in tasks]
        for seed in range(seeds)
    ]
    complete = [seed for seed in trained if all(None not in row for row in seed)]
    accuracy = np.array([[[e["accuracy"] for e in row] for row in seed] for seed in complete])
    rows = [[bench.result(scores_of(task, at)) for at in whole] for task in tasks]
    scores, seconds = dict[str, Array](), dict[str, float]()
    for name in set(rows[0][0]) - {"wall"}:
        scores[name] = np.array([[each[name]["score"] for each in row] for row in rows])
        seconds[name] = fmean(each[name]["seconds"] for row in rows for each in row)
    return Found(tasks, accuracy, scores | _elsewhere(accuracy.mean(axis=0)), seconds)


def _elsewhere(worth: Array) -> dict[str, Array]:
    """What an architecture is worth on the other tasks: all that no task's images could tell."""
    if len(worth) < 2:
        return {}
    spread = worth.std(axis=1, keepdims=True)
    standard = (worth - worth.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1)
    return {"accuracy on the other tasks": (standard.sum(axis=0) - standard) / (len(worth) - 1)}


def correlations(scores: Array, worth: Array) -> Array:
    """Spearman's, ``[S, T]`` of scores ``[S, T, A]`` with ``[T, A]``; 0 where one is constant."""
    ranks, goal = (rankdata(each, axis=-1) for each in (scores, worth))
    ranks, goal = (each - each.mean(axis=-1, keepdims=True) for each in (ranks, goal))
    norms = np.sqrt((ranks**2).sum(axis=-1) * (goal**2).sum(axis=-1))
    found: Array = (ranks * goal).sum(axis=-1) / np.where(norms > 0, norms, 1)
    return found


def resampled(scores: Array, worth: Array, draws: int = DRAWS) -> tuple[Array, Array]:
    """Correlations of bootstrap samples.

    Architectures are drawn with replacement, the same for all tasks; then tasks.

    Returns:
        ``[draws, S, T]`` by task, and ``[draws, S]`` over drawn tasks.
    """
    generator = np.random.default_rng(0)
    tasks, count = worth.shape
    by_task, over = list[Array](), list[Array]()
    for _ in range(draws):
        chosen = generator.integers(count, size=count)
        found = correlations(scores[..., chosen], worth[:, chosen])
        by_task.append(found)
        over.append(found[:, generator.integers(tasks, size=tasks)].mean(axis=1))
    return np.array(by_task), np.array(over)


def leads(scores: Array, worth: Array) -> Array:
    """``[S]``: what the best quarter by each score is worth over all, mean over tasks."""
    best = np.argsort(-scores, axis=-1, kind="stable")[..., : max(1, worth.shape[1] // 4)]
    chosen = np.take_along_axis(np.broadcast_to(worth, scores.shape), best, axis=-1)
    found: Array = (chosen.mean(axis=-1) - worth.mean(axis=-1)).mean(axis=-1)
    return found


def compared(found: Found) -> str:
    """Every score, the best first."""
    names = list(found.scores)
    stacked = np.stack([found.scores[name] for name in names])
    rho, lead = correlations(stacked, found.worth), leads(stacked, found.worth)
    by_task, over = resampled(stacked, found.worth)
    reference, body = names.index(REFERENCE), []
    for at in sorted(range(len(names)), key=lambda each: -rho[each].mean()):
        name, ahead = names[at], rho[at].mean() - rho[reference].mean()
        body.append(
            (
                name,
                f"{signed(rho[at].mean())} {bracket(_bounds(over[:, at]), signed)}",
                ""
                if at == reference
                else f"{signed(ahead)} "
                f"{bracket(_bounds(over[:, at] - over[:, reference]), signed)}",
                points(lead[at]),
                f"{found.seconds[name]:.2f}" if name in found.seconds else "",
                *(
                    f"{signed(each)} {bracket(_bounds(by_task[:, at, task]), signed)}"
                    for task, each in enumerate(rho[at])
                ),
            )
        )
    head = ("score", "mean rho", "less that of parameters", "best quarter", "s", *found.tasks)
    return table(head, body)


def reliability(bench: Prescreens, found: Found) -> str:
    """What there is to be predicted: spread, noise of seeds, and how far two seeds agree."""
    body = []
    for at, task in enumerate(found.tasks):
        accuracy = found.accuracy[:, at]
        cells = [f"{100 * accuracy.mean():.1f}", f"{100 * accuracy.mean(axis=0).std():.1f}"]
        if len(accuracy) > 1:
            noise = np.sqrt(accuracy.var(axis=0, ddof=1).mean())
            agreed = float(correlations(accuracy[:1, None], accuracy[1:2])[0, 0])
            mean = 2 * agreed / (1 + agreed) if agreed > 0 else 0.0
            cells += [f"{100 * noise:.1f}", signed(agreed), signed(mean**0.5)]
        else:
            cells += ["", "", ""]
        supernet = bench.result(supernet_of(task))
        cells += [f"{100 * supernet['valid']:.1f}", f"{supernet['seconds']:.0f}"]
        body.append((task, *cells))
    head = ("task", "test", "spread", "noise of a seed", "rho of two seeds", "most to reach")
    return table((*head, "supernet, valid", "supernet, s"), body)


def _bounds(draws: Array) -> tuple[float, float]:
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(draws, (tail, 1 - tail))
    return float(low), float(high)


def main() -> None:
    """Measure what is missing, and print what there is to predict and how well it is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("suite", type=Path)
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--seeds", type=int, default=3)
    for each in fields(Settings):
        if each.name != "version":
            name = each.name.replace("_", "-")
            parser.add_argument(f"--{name}", type=type(each.default), default=each.default)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--jobs", type=int, default=1)
    given: dict[str, Any] = vars(parser.parse_args())
    suite, tasks, seeds, device, jobs = (
        given.pop(name) for name in ("suite", "tasks", "seeds", "device", "jobs")
    )
    bench = Prescreens(suite, ROOT, asdict(Settings(**given)), device)
    failed = finish(bench, list(bench.units(tasks, seeds)), jobs)
    found = gathered(bench, tasks, seeds)
    if found is not None:
        print(f"\n{found.worth.shape[1]} architectures, {len(found.accuracy)} seeds:\n")
        print(reliability(bench, found) + "\n")
        print(compared(found))
    conclude(failed)


if __name__ == "__main__":
    main()
