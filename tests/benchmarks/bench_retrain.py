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
import io
import statistics
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.stats import t as student
from torch import Tensor

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

TASKS = ("latin_lower", "fashion", "sprites_terrain")
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


def load(archive: Path) -> tuple[LabelledImages, LabelledImages]:
    """Training images (at most IMAGES) and test images, normalised by the former."""
    with zipfile.ZipFile(archive) as file:
        names = [name for name in file.namelist() if name.endswith(".png")]
        classes = sorted({name.split("/")[1] for name in names})

        def part(which: str) -> tuple[Tensor, Tensor]:
            mine = [name for name in names if name.startswith(f"{which}/")]
            pixels = [
                np.asarray(
                    Image.open(io.BytesIO(file.read(name)))
                    .convert("RGB")
                    .resize((SIDE, SIDE), Image.Resampling.BOX)
                )
                for name in mine
            ]
            labels = [classes.index(name.split("/")[1]) for name in mine]
            return torch.from_numpy(np.stack(pixels)).movedim(3, 1).contiguous(), torch.tensor(
                labels
            )

        train = LabelledImages.measured(*part("train"), len(classes))
        images, labels = part("test")
    test = replace(train, images=images, labels=labels)
    return train.sample(IMAGES, torch.Generator().manual_seed(0)), test


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


def measure(archive: Path, seed: int, epochs: int) -> dict[str, float]:
    """Test accuracy by variant, and of the supernet and the network before retraining."""
    images, test = load(archive)
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
            rows.append(measure(asked.suite / f"{task}.zip", seed, asked.epochs))
    print(f"\n{'variant':14}{'mean':>8}   difference in points, 95 %, won-lost of {len(rows)}")
    for name in ("supernet", "inherited", *VARIANTS):
        mean = statistics.fmean(row[name] for row in rows)
        print(f"{name:14}{mean:8.3f}   {differences(rows, name)}")


if __name__ == "__main__":
    main()
