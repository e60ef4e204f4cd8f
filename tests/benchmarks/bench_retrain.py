"""What each option of a retraining gains in test accuracy, from inherited weights.

Run from the project root::

    python -m tests.benchmarks.bench_retrain SUITE [--tasks NAME ...] [--seeds N] [--epochs N]

SUITE is a folder of TASK.zip archives (``train/CLASS/IMAGE.png``, ``test/CLASS/IMAGE.png``). For
every task and seed a small supernet is searched and its cell derived; the derived network is
then retrained once per variant, from the same weights, in the same order of images and for as
many epochs. Printed are the test accuracies, and per variant the mean difference to the plain
retraining over all pairs, with its 95 % interval (Student's t) and how often it won. One thread.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from scipy.stats import t as student

from core.nas.derive import derive
from core.nas.evaluate import evaluate
from core.nas.head import fit_head, remove_temperature
from core.nas.images import LabelledImages
from core.nas.network import Network, inherit
from core.nas.normalisation import reestimate
from core.nas.retrain import RetrainConfig, RetrainState, retrain
from core.nas.search import SearchConfig, SearchState, run
from core.nas.space import Space
from core.nas.supernet import Supernet
from tests.benchmarks.suite import read_labelled

TASKS = ("latin_lower", "fashion", "sprites_terrain")
EVERYTHING = 10**9
SIDE, IMAGES, BATCH = 16, 512, 32
SPACE = Space(channels=4, layers=4, nodes=2)
SEARCH = SearchConfig(epochs=5, batch_size=BATCH, learning_rate=0.1, alpha_learning_rate=3e-3)
PLAIN = RetrainConfig(epochs=0, batch_size=BATCH, learning_rate=0.05)
VARIANTS: Mapping[str, RetrainConfig] = {
    "plain": PLAIN,
    "averaged .99": replace(PLAIN, ema=0.99),
    "distilled .5": replace(PLAIN, distillation=0.5),
    "distilled .9": replace(PLAIN, distillation=0.9),
    "smoothed .1": replace(PLAIN, label_smoothing=0.1),
    "cutout": replace(PLAIN, augment="cutout"),
    "trivial": replace(PLAIN, augment="trivial"),
}


def load(suite: Path, task: str) -> tuple[LabelledImages, LabelledImages]:
    """Training images (at most IMAGES) and test images, normalised by the former."""
    train, test = read_labelled(suite, task, side=SIDE, train=IMAGES, test=EVERYTHING, seed=0)
    return train.with_channels(3), test.with_channels(3)


def searched(images: LabelledImages, seed: int) -> tuple[Supernet, Network]:
    """A supernet and the network derived from it, with inherited weights and a solved head."""
    supernet = Supernet(SPACE, images.classes, torch.Generator().manual_seed(seed))
    train, valid = images.halves(seed)
    for _ in run(SearchState(supernet), train, valid, replace(SEARCH, seed=seed)):
        pass
    reestimate(supernet, train.batches(BATCH))
    network = inherit(supernet, derive(supernet))
    reestimate(network, train.batches(BATCH))
    remove_temperature(network, fit_head(network, train, valid, batch_size=BATCH))
    return supernet, network


def retrained(
    supernet: Supernet,
    network: Network,
    images: LabelledImages,
    test: LabelledImages,
    config: RetrainConfig,
) -> float:
    """Test accuracy after a retraining of a copy of `network`."""
    state = RetrainState(copy.deepcopy(network), config, side=SIDE)
    train, valid = images.split(0.85, config.seed)
    teacher = supernet if config.distillation else None
    for _ in retrain(state, train, valid, config, teacher=teacher):
        pass
    reestimate(state.result(), train.batches(256))
    return evaluate(state.result(), test, 256).accuracy


def measure(suite: Path, task: str, seed: int, epochs: int) -> dict[str, float]:
    """Test accuracy by variant, and of the supernet and the network before retraining."""
    images, test = load(suite, task)
    started = time.process_time()
    supernet, network = searched(images, seed)
    print(f"  search {time.process_time() - started:23.1f} CPU-s", flush=True)
    found = {
        "supernet": evaluate(supernet, test, 256).accuracy,
        "inherited": evaluate(network, test, 256).accuracy,
    }
    for name, config in VARIANTS.items():
        started = time.process_time()
        config = replace(config, epochs=epochs, seed=seed)
        found[name] = retrained(supernet, network, images, test, config)
        seconds = time.process_time() - started
        print(f"  {name:14}{found[name]:8.3f}{seconds:8.1f} CPU-s", flush=True)
    return found


def differences(rows: Sequence[Mapping[str, float]], name: str) -> str:
    """Mean difference to plain in points, its interval, and wins, ties and losses."""
    found = [100 * (row[name] - row["plain"]) for row in rows]
    mean = statistics.fmean(found)
    reach = float("nan")
    if len(found) > 1:
        error = statistics.stdev(found) / len(found) ** 0.5
        reach = float(student.ppf(0.975, len(found) - 1)) * error
    wins, losses = sum(d > 0 for d in found), sum(d < 0 for d in found)
    return f"{mean:+6.2f}  [{mean - reach:+6.2f}, {mean + reach:+6.2f}]  {wins}-{losses}"


def main() -> None:
    """Print accuracies as they come, then the table of differences."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suite", type=Path)
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for seed in range(asked.seeds):
        for task in asked.tasks:
            print(f"{task}, seed {seed}", flush=True)
            rows.append(measure(asked.suite, task, seed, asked.epochs))
    print(f"\n{'variant':14}{'mean':>8}   difference in points, 95 %, won-lost of {len(rows)}")
    for name in ("supernet", "inherited", *VARIANTS):
        mean = statistics.fmean(row[name] for row in rows)
        print(f"{name:14}{mean:8.3f}   {differences(rows, name)}")


if __name__ == "__main__":
    main()
