"""What the package's supernets are worth on tasks they never saw, before any gradient step.

Run from the project root::

    python -m tests.benchmarks.bench_zoo SUITE [--tasks NAME ...] [--seeds N] [--images N]

SUITE is a folder of TASK.zip archives; by default all tasks that are not in a bundle's lineage.
For every task and seed, from the bundle and from random weights: the supernet with re-estimated
statistics and a head solved in closed form; four random cells (the same for both) with inherited
weights and their own solved head; and the first of these retrained for ten epochs. Test accuracy;
test images choose nothing. The CPU seconds are those of loading, statistics and head.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file

from core.data import bundle as files
from core.nas import warm_start
from core.nas.evaluate import evaluate
from core.nas.head import fit_head, remove_temperature
from core.nas.images import LabelledImages, epoch_generator
from core.nas.network import Network, inherit
from core.nas.normalisation import reestimate
from core.nas.retrain import RetrainConfig, RetrainState, retrain
from core.nas.selection.variation import uniform_sample
from core.nas.space import Space
from core.zoo import shipped
from tests.benchmarks.suite import read_labelled

CELLS, EPOCHS, TESTED, BATCH = 4, 10, 400, 64
COLUMNS = ("supernet", "cells", "retrained", "seconds")


def measured(
    origin: Space | warm_start.Source, train: LabelledImages, test: LabelledImages, seed: int
) -> dict[str, float]:
    """All columns for one start."""
    half, valid = train.halves(seed)
    began = time.process_time()
    supernet = warm_start.begin(
        origin, train.classes, half, valid, head="closed_form",
        generator=torch.Generator().manual_seed(seed), batch_size=BATCH,
    )  # fmt: skip
    seconds = time.process_time() - began
    generator = epoch_generator(seed, 0)
    cells = [uniform_sample(supernet.space, generator) for _ in range(CELLS)]
    networks = [inherit(supernet, each) for each in cells]
    for network in networks:
        reestimate(network, half.batches(BATCH))
        solution = fit_head(network, half, valid, batch_size=BATCH)
    found = {
        "supernet": evaluate(supernet, test, BATCH).accuracy,
        "cells": statistics.mean(evaluate(each, test, BATCH).accuracy for each in networks),
    }
    remove_temperature(networks[-1], solution)
    found["retrained"] = retrained(networks[-1], train, test, seed)
    return found | {"seconds": seconds}


def retrained(network: Network, train: LabelledImages, test: LabelledImages, seed: int) -> float:
    """Test accuracy after ten epochs."""
    rest, held_out = train.split(0.85, seed)
    config = RetrainConfig(epochs=EPOCHS, batch_size=BATCH, learning_rate=0.05, seed=seed)
    state = RetrainState(network, config)
    for _ in retrain(state, rest, held_out, config):
        pass
    reestimate(state.result(), rest.batches(BATCH))
    return evaluate(state.result(), test, BATCH).accuracy


def main() -> None:
    """Measure and print a table for every bundle of the package."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("suite", type=Path)
    parser.add_argument("--tasks", nargs="+")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--images", type=int, default=1000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for each in shipped.bundles():
        with each.file() as path:
            manifest, state = files.read(path).manifest, load_file(path)
        seen = {dataset["name"] for dataset in manifest.lineage["datasets"]}
        tasks = given.tasks or sorted(p.stem for p in given.suite.glob("*.zip"))
        space = Space.from_dict(manifest.space)
        print(f"{each.name}: random weights / the bundle's, {given.images} images at most")
        print("| task | " + " | ".join(COLUMNS) + " |\n|---|" + "---|" * len(COLUMNS))
        for task in (task for task in tasks if task not in seen):
            compared = _compare(given.suite, task, space, state, manifest.resolution, given)
            print(f"| {task} | " + " | ".join(compared(column) for column in COLUMNS) + " |",
                  flush=True)  # fmt: skip


def _compare(
    suite: Path,
    task: str,
    space: Space,
    state: dict[str, torch.Tensor],
    side: int,
    given: argparse.Namespace,
) -> Callable[[str], str]:
    pairs = []
    for seed in range(given.seeds):
        train, test = (
            part.with_channels(space.input_channels)
            for part in read_labelled(
                suite, task, side=side, train=given.images, test=TESTED, seed=seed
            )
        )
        origins = space, warm_start.Source(space, state)
        pairs.append([measured(origin, train, test, seed) for origin in origins])

    def column(name: str) -> str:
        means = [statistics.mean(pair[at][name] for pair in pairs) for at in (0, 1)]
        form = "{:.1f}" if name == "seconds" else "{:.3f}"
        return " / ".join(form.format(mean) for mean in means)

    return column


if __name__ == "__main__":
    main()
