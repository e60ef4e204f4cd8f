"""The distance engine against microsoft/otdd and against the linear program, and at scale.

Run from the project root: ``make bench-ot [REFERENCE=CHECKOUT] [SUITE=FOLDER] [THREADS=2]``, or
``python -m tests.benchmarks.bench_ot --help``. Prints tables and writes ``var/bench/ot.json``.

Wall seconds, means where there is a ratio; medians, spread and CPU seconds stand beside them. Ours
and the reference's runs alternate, on the same number of threads, so that a slow moment of the
machine falls on both. Embedding and summarising are done once for a dataset and not counted. Truth
is the order by the linear program between all samples, in float64. REFERENCE is a clone of
github.com/microsoft/otdd; what it needs beside this project's packages (geomloss below 0.3,
munkres, seaborn, adjustText, pandas, tqdm) must lie on PYTHONPATH.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.ot import class_plans, funnel, targets
from core.ot.dataset_distance import OTDDConfig, otdd
from core.ot.embedded_dataset import EmbeddedDataset
from core.ot.oriented_energy import OrientedEnergy
from core.ot.ranking import rank
from core.ot.source_block import SourceBlock, concatenate, summarise
from tests.benchmarks.bench_embedders import by_rank, embed_all, places
from tests.benchmarks.distance import truth, variants
from tests.benchmarks.distance.measuring import Clock, agreement, conditions, peak_bytes
from tests.benchmarks.distance.reference import Reference
from tests.benchmarks.distance.registries import Registry
from tests.benchmarks.embedders.tasks import read_suite

ALL = OTDDConfig(samples=1000)
SAMPLES = OTDDConfig().samples
ROUNDS = 5
Row = dict[str, float | bool | None]


def ranking(
    dimension: int, timed: int, reference: Reference | None, spread: dict[str, Any]
) -> Row:
    """One target and 64 sources: time and agreement of a ranking, and the reference's.

    Args:
        dimension: Of the features.
        timed: Sources that the reference is timed on; their mean stands for all.
        reference: What to compare with, if anything.
        spread: Where details go.
    """
    target, *sources = variants.embedded(dimension)
    costs = [otdd(target, source, ALL).cost for source in sources]
    if dimension == 64:
        _check(target, sources[0], costs[0])
    built, ours, theirs = Clock(), Clock(), Clock()
    block = built.time(lambda: concatenate([summarise(s, samples=SAMPLES) for s in sources]))

    def run() -> list[int]:
        order = rank(target, block, sources.__getitem__, k=5, budget=0)
        return [each.row for each in order.neighbours]

    chosen = range(0, len(sources), len(sources) // timed)[:timed] if reference else range(ROUNDS)
    order, values = run(), []
    for at in chosen:
        ours.time(run)
        if reference:
            values.append(theirs.time(partial(reference.distance, target, sources[at])))
    row = _row(ours, theirs, len(sources), agreement(order, costs))
    spread[f"rank64_d{dimension}"] = found = {
        "ours": ours.record(),
        "summaries of all sources, built once": built.record(),
        "estimates alone": _estimates_alone(target, block, costs),
    }
    if reference:
        found["reference, a pair"] = theirs.record()
    if len(values) == len(sources):
        found["reference"] = agreement(sorted(chosen, key=values.__getitem__), costs)
    return row


def _estimates_alone(
    target: EmbeddedDataset, block: SourceBlock, costs: Sequence[float]
) -> dict[str, Any]:
    """The funnel without a measurement: what it costs, and how well it orders."""
    clock = Clock()

    def run() -> list[int]:
        seen = targets.prepare(target, samples=SAMPLES)
        bounds = class_plans.bound(seen, block)
        found = funnel.estimate(seen, block, bounds, lambda_x=1, lambda_y=1, keep=5)
        rows: list[int] = found.rows[np.argsort(found.squared, kind="stable")].tolist()
        return rows

    for _ in range(2 * ROUNDS):
        order = clock.time(run)
    return clock.record() | agreement(order, costs)


def pair(reference: Reference | None, spread: dict[str, Any]) -> Row:
    """One distance between a thousand samples a side, in 784 dimensions."""
    first, second = variants.embedded(784)[:2]
    ours, theirs = Clock(), Clock()
    for at in range(2 * ROUNDS):
        found = ours.time(partial(otdd, first, second, ALL))
        if reference and at == ROUNDS:
            theirs.time(partial(reference.distance, first, second, precision="double"))
    _check(first, second, found.cost)
    spread["pair_d784"] = {"ours": ours.record()}
    if reference:
        spread["pair_d784"]["reference"] = theirs.record()
    return _row(ours, theirs, 1, {"kendall_tau": None, "top1": None, "top5_recall": None})


def registry(
    bases: Sequence[EmbeddedDataset],
    target: EmbeddedDataset,
    count: int,
    spread: dict[str, Any],
) -> Row:
    """A ranking among `count` sources, the ten nearest measured."""
    gc.collect()
    before = peak_bytes()
    sources = Registry(bases, count, samples=SAMPLES)
    held = peak_bytes()
    clock = Clock()
    for _ in range(ROUNDS):
        clock.time(lambda: rank(target, sources.block, sources.load, k=10, budget=0))
    proving = Clock()
    proving.time(lambda: rank(target, sources.block, sources.load, k=10))
    spread[f"sources_{count}"] = {
        "ours": clock.record(),
        "with 32 more measured for proof": proving.record(),
        "block_bytes_per_source": sources.block.nbytes / count,
        "peak_growth_per_source_filling": (held - before) / count,
        "peak_growth_per_source_ranking": (peak_bytes() - held) / count,
    }
    return {"seconds": clock.seconds}


def same_domain_top3(suite: Path) -> float:
    """Share of the suite's tasks with kin that have some among the three nearest, as ranked by
    a job: all images, the default embedder and settings."""
    tasks = read_suite(suite)
    embedded, _ = embed_all(OrientedEnergy(), tasks)
    found = places(by_rank(embedded), tasks)
    return sum(place <= 3 for place, _ in found.values()) / len(found)


def _check(first: EmbeddedDataset, second: EmbeddedDataset, cost: float) -> None:
    independent = truth.cost(first, second)
    if abs(cost - independent) > 1e-6 * independent:
        raise ValueError(f"the linear program says {independent}, we say {cost}")


def _row(ours: Clock, theirs: Clock, pairs: int, found: Mapping[str, float | bool | None]) -> Row:
    """Means: of each run of ours, and of as many pairs of the reference as one run compares."""
    seconds = statistics.mean(ours.wall)
    taken = pairs * statistics.mean(theirs.wall) if theirs.wall else None
    ratio = None if taken is None else taken / seconds
    return {"seconds": seconds, "reference_seconds": taken, "ratio": ratio, **found}


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--reference", type=Path, help="a checkout of microsoft/otdd")
    parser.add_argument("--suite", type=Path, help="a folder as bench_embedders takes it")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("var/bench/ot.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    reference = Reference(arguments.reference) if arguments.reference else None
    spread: dict[str, Any] = {}
    results: dict[str, object] = {}
    for dimension, timed in ((64, 64), (512, 6)):
        name = f"rank64_d{dimension}"
        results[name] = found = ranking(dimension, timed, reference, spread)
        print(f"{name}: {_line(found)}", flush=True)
    results["pair_d784"] = found = pair(reference, spread)
    print(f"pair_d784: {_line(found)}", flush=True)
    target, *bases = variants.embedded(512)
    for count in (1000, 10_000):
        results[f"sources_{count}"] = found = registry(bases, target, count, spread)
        print(f"sources_{count}: {_line(found)}", flush=True)
    share = same_domain_top3(arguments.suite) if arguments.suite else None
    results["suite"] = {"same_domain_top3": share}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    results |= {"spread": spread, "conditions": conditions(arguments.threads)}
    arguments.output.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps({"spread": spread, "conditions": results["conditions"]}, indent=1))
    print(f"suite, same domain among the nearest three: {share}\nwritten: {arguments.output}")


def _line(row: Row) -> str:
    return ", ".join(
        f"{name} {value:.3f}" if isinstance(value, float) else f"{name} {value}"
        for name, value in row.items()
    )


if __name__ == "__main__":
    main()
