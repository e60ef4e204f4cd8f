"""Time of a dataset distance and of its label distances, on synthetic statistics.

Run from the project root: ``python -m tests.benchmarks.bench_distance``. CPU seconds, one thread,
median of interleaved runs, so that a slow moment of the machine falls on every row alike.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import torch

from core.ot.dataset_distance import OTDDConfig, otdd
from core.ot.embedded_dataset import EmbeddedDataset, build
from core.ot.label_distances import squared_gaussian_distances
from core.ot.ranking import rank

DIMENSIONS = (64, 128, 512)
SAMPLES = (256, 1000)
CLASSES = 10
IMAGES = 2000
SOURCES = 3
ROUNDS = 5


def synthetic(seed: int, dimension: int) -> EmbeddedDataset:
    """Classes with their own means and a spectrum that decays as that of real features."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(IMAGES) % CLASSES
    centres = torch.randn(CLASSES, dimension, generator=generator) / dimension**0.5
    spectrum = torch.arange(1, dimension + 1).float() ** -0.5
    rotation, _ = torch.linalg.qr(torch.randn(dimension, dimension, generator=generator))
    noise = torch.randn(IMAGES, dimension, generator=generator) * spectrum
    names = [str(label) for label in range(CLASSES)]
    return build(centres[labels] + noise @ rotation, labels, names)


def cases() -> dict[str, Callable[[], object]]:
    """Everything to be timed, by row name."""
    table: dict[str, Callable[[], object]] = {}
    for dimension in DIMENSIONS:
        first, *sources = (synthetic(seed, dimension) for seed in range(1 + SOURCES))
        second = sources[0]
        table[f"label distances, {dimension}-d"] = partial(
            squared_gaussian_distances, first.moments, second.moments
        )
        for samples in SAMPLES:
            config = OTDDConfig(samples=samples)
            table[f"pair, {dimension}-d, n={samples}"] = partial(otdd, first, second, config)
        named = {str(number): source for number, source in enumerate(sources)}
        table[f"rank {SOURCES} sources, {dimension}-d, n=500"] = partial(rank, first, named)
    return table


def cpu_seconds(run: Callable[[], object]) -> float:
    """Process time of one run."""
    start = time.process_time()
    run()
    return time.process_time() - start


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    table = cases()
    timings: dict[str, list[float]] = {name: [] for name in table}
    for _ in range(ROUNDS):
        for name, run in table.items():
            timings[name].append(cpu_seconds(run))
    print(f"| {CLASSES} x {CLASSES} classes, {IMAGES} images a side | CPU s |\n|---|---|")
    for name, seconds in timings.items():
        print(f"| {name} | {statistics.median(seconds):.3f} |")


if __name__ == "__main__":
    main()
