"""What a search by clients that share no images loses, and what it sends.

Run from the project root::

    python -m tests.benchmarks.bench_federated SUITE [--tasks NAME ...] [--seeds 2] [--jobs 1]

SUITE is a folder of TASK.zip archives. The train images of a task are held by four clients: dealt
at random (``iid``), or each class by a Dirichlet draw of 0.3 (``skewed``). Weights and alphas of
their searches are averaged by size after every epoch, or every fourth
(`tests.benchmarks.federated.averaging`); the controls search on all images (``central``), and on
those of each client alone. As many epochs are searched in all arms. Given are: validation accuracy
of the supernet on all clients' validation halves, with the head as it was learned, and with one
solved in closed form from summed moments of features (exactly what pooled features give); test
accuracy of the derived cells when retrained from inherited weights on all images, and when
retrained by the clients alone or by averaging; and megabytes sent in both directions by all
clients together, searching.

Means and deviations that normalise pixels are those of all images: clients can sum theirs.
What is finished lies in ``var/bench``, so a run may be cut and go on. A process has one thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from core.nas.derive import derive
from core.nas.evaluate import evaluate
from core.nas.genotype import Genotype
from core.nas.head import collect_features, install, solve_head
from core.nas.images import LabelledImages
from core.nas.loop import MEASURING_BATCH
from core.nas.normalisation import reestimate
from core.nas.retrain import RetrainConfig, RetrainState, retrain
from core.nas.search import SearchConfig, SearchState, run
from core.nas.supernet import Supernet
from tests.benchmarks.evolution.kept import Kept, inherited, retrained
from tests.benchmarks.federated.averaging import rounds, share
from tests.benchmarks.results import Rows, conclude, lead, whole
from tests.benchmarks.transfer.spelling import table
from tests.benchmarks.units import Unit, finish

ROOT = Path("var/bench/federated")
# Those that settings were tried on (greek_lower, icons_arrows, sprites_creatures) are not here.
TASKS = ("fashion", "hiragana", "sprites_terrain", "texture_patches")
CENTRAL = "central"
SPLITS = ("iid", "skewed")
WAYS = ("every1", "every4", "alone")
ARMS = (CENTRAL, *(f"{split}-{way}" for split in SPLITS for way in WAYS))
CLIENTS, CONCENTRATION, SMALLEST = 4, 0.3, 40
Half = tuple[LabelledImages, LabelledImages]
_Model = TypeVar("_Model", bound=nn.Module)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that decides a result but task, seed and arm.

    Args:
        side: Pixels.
        images: Train images of a task, at most.
        channels: Of the first cells.
        epochs: Of the search, over each client's images.
        retraining: Epochs of the derived cells.
        rate: Of the weights' descent in the search.
    """

    side: int = 16
    images: int = 800
    channels: int = 4
    epochs: int = 12
    retraining: int = 5
    rate: float = 0.05
    version: int = 1


class Federated(Kept):
    """Measures arms, and keeps what each found in a file of its own."""

    def units(self, tasks: Sequence[str], seeds: int) -> Iterator[Unit]:
        """Everything to measure, seed after seed."""
        for seed in range(seeds):
            for task in tasks:
                part = partial(_central, task=task, seed=seed)
                yield Unit(f"{task}-{seed}-{CENTRAL}", CENTRAL, part)
            for way in WAYS:
                for split in SPLITS:
                    for task in tasks:
                        each = partial(_clients, task=task, seed=seed, split=split, way=way)
                        yield Unit(f"{task}-{seed}-{split}-{way}", f"{split}-{way}", each)

    def central(self, task: str, seed: int) -> dict[str, Any]:
        """All images in one place."""
        began = time.process_time()
        images, test = self.images(task, seed)
        supernet = self.fresh(images.classes, seed)
        halves = images.halves(seed)
        for _ in run(SearchState(supernet), *halves, self.searching(seed)):
            pass
        reestimate(supernet, halves[0].batches(MEASURING_BATCH))
        genotype = derive(supernet, max_skips=2)
        worth = self.worth(supernet, genotype, images, test, seed)
        return {
            **self.scores(supernet, [halves]),
            "pooled": worth,
            "own": worth,
            "megabytes": 0.0,
            "seconds": time.process_time() - began,
        }

    def together(self, task: str, seed: int, split: str, every: int) -> dict[str, Any]:
        """Weights and alphas averaged every so many epochs."""
        began = time.process_time()
        images, test = self.images(task, seed)
        clients = dealt(images, split, seed)
        halves = [each.halves(seed) for each in clients]
        states = [SearchState(self.fresh(images.classes, seed)) for _ in clients]
        sizes = [len(train) for train, _ in halves]
        config = self.searching(seed)
        trainings = [run(s, *h, config) for s, h in zip(states, halves, strict=True)]
        sent = sum(1 for _ in rounds(states, trainings, sizes, every=every)) - 1
        supernet = agreed([state.supernet for state in states], halves)
        genotype = derive(supernet, max_skips=2)
        return {
            **self.scores(supernet, halves),
            "pooled": self.worth(supernet, genotype, images, test, seed),
            "own": self.retrained_together(supernet, genotype, clients, test, seed, every),
            "megabytes": 2 * CLIENTS * sent * megabytes(supernet),
            "seconds": time.process_time() - began,
        }

    def alone(self, task: str, seed: int, split: str) -> dict[str, Any]:
        """Every client by itself; of each figure that of the best client, which nobody knows.

        On all images only the cells of the client that is best by itself are retrained.
        """
        began = time.process_time()
        images, test = self.images(task, seed)
        clients = dealt(images, split, seed)
        halves = [each.halves(seed) for each in clients]
        found = []
        for own, half in zip(clients, halves, strict=True):
            supernet = self.fresh(images.classes, seed)
            for _ in run(SearchState(supernet), *half, self.searching(seed)):
                pass
            reestimate(supernet, half[0].batches(MEASURING_BATCH))
            genotype = derive(supernet, max_skips=2)
            scores = self.scores(supernet, halves, statistics=half[0])
            scores["own"] = self.worth(supernet, genotype, own, test, seed)
            found.append((scores, supernet, genotype))
        several = [each for each, _, _ in found]
        best = {name: max(each[name] for each in several) for name in several[0]}
        _, supernet, genotype = max(found, key=lambda each: each[0]["own"])
        best["pooled"] = self.worth(supernet, genotype, images, test, seed)
        mean = {f"mean {name}": fmean(each[name] for each in several) for name in several[0]}
        return {**best, **mean, "megabytes": 0.0, "seconds": time.process_time() - began}

    def searching(self, seed: int) -> SearchConfig:
        """Of every search; heads are descended: a head solved by one client is that client's."""
        return SearchConfig(
            epochs=self.settings["epochs"],
            batch_size=32,
            learning_rate=self.settings["rate"],
            alpha_learning_rate=3e-3,
            seed=seed,
        )

    def scores(
        self,
        supernet: Supernet,
        halves: Sequence[Half],
        statistics: LabelledImages | None = None,
    ) -> dict[str, float]:
        """Validation accuracies over all clients' images, by three ways to a head and statistics.

        ``learned``: as the supernet is. ``shuffled``: with statistics re-estimated on batches
        mixed of all clients (of `statistics`, where given), which only one place could do; its
        distance to ``learned`` is what separate batches cost. ``solved``: the learned statistics
        and a head from summed moments.
        """
        train, valid = (joined([half[at] for half in halves]) for at in (0, 1))
        learned = evaluate(supernet, valid, MEASURING_BATCH).accuracy
        mixed = deepcopy(supernet)
        drawing = torch.Generator().manual_seed(0)
        reestimate(mixed, (statistics or train).batches(MEASURING_BATCH, drawing))
        solved = deepcopy(supernet)
        first, second = valid.halves(0)
        features = [
            collect_features(solved, each.batches(MEASURING_BATCH)) for each in (train, first)
        ]
        head = solve_head(features[0], train.labels, features[1], first.labels, solved.classes)
        install(solved, head)
        return {
            "learned": learned,
            "shuffled": evaluate(mixed, valid, MEASURING_BATCH).accuracy,
            "solved": evaluate(solved, second, MEASURING_BATCH).accuracy,
        }

    def worth(
        self,
        supernet: Supernet,
        genotype: Genotype,
        images: LabelledImages,
        test: LabelledImages,
        seed: int,
    ) -> float:
        """Test accuracy of cells that are retrained in one place."""
        network = inherited(supernet, genotype, images, seed)
        return retrained(network, images, test, epochs=self.settings["retraining"], seed=seed)

    def retrained_together(
        self,
        supernet: Supernet,
        genotype: Genotype,
        clients: Sequence[LabelledImages],
        test: LabelledImages,
        seed: int,
        every: int,
    ) -> float:
        """Test accuracy of cells that the clients retrain by averaging.

        The head they begin with is solved from summed moments of features, here from the features.
        """
        parts = [each.split(0.95, seed) for each in clients]
        config = RetrainConfig(
            epochs=self.settings["retraining"], batch_size=32, learning_rate=0.05, seed=seed
        )
        begun = inherited(supernet, genotype, joined(clients), seed)
        states = [RetrainState(deepcopy(begun), config) for _ in clients]
        trainings = [retrain(s, *p, config) for s, p in zip(states, parts, strict=True)]
        sizes = [len(train) for train, _ in parts]
        for _ in rounds(states, trainings, sizes, every=every):
            pass
        network = agreed([state.network for state in states], parts)
        return evaluate(network, test, MEASURING_BATCH).accuracy


def agreed(models: Sequence[_Model], halves: Sequence[Half]) -> _Model:
    """The clients' common model, with the average of statistics that each has re-estimated."""
    for model, (train, _) in zip(models, halves, strict=True):
        reestimate(model, train.batches(MEASURING_BATCH))
    share(models, [len(train) for train, _ in halves])
    return models[0]


def megabytes(model: nn.Module) -> float:
    """What one model is to send, in float32."""
    numbers = sum(each.numel() for each in model.state_dict().values() if each.is_floating_point())
    return 4 * numbers / 1e6


def dealt(images: LabelledImages, split: str, seed: int) -> list[LabelledImages]:
    """The clients' images: all of them, each once.

    ``skewed`` draws every class's shares from a Dirichlet distribution (Hsu et al. 2019, arXiv
    1909.06335), again until no client has fewer than `SMALLEST`.
    """
    random = np.random.default_rng(seed)
    labels = images.labels.cpu().numpy()
    if split == "iid":
        owner = random.permutation(np.arange(len(labels)) % CLIENTS)
    else:
        while True:
            owner = np.empty(len(labels), dtype=np.int64)
            for label in range(images.classes):
                members = random.permutation(np.flatnonzero(labels == label))
                shares = random.dirichlet([CONCENTRATION] * CLIENTS)
                cuts = np.round(np.cumsum(shares)[:-1] * len(members)).astype(int)
                for client, part in enumerate(np.split(members, cuts)):
                    owner[part] = client
            if np.bincount(owner, minlength=CLIENTS).min() >= SMALLEST:
                break
    return [images.take(torch.from_numpy(np.flatnonzero(owner == c))) for c in range(CLIENTS)]


def joined(parts: Sequence[LabelledImages]) -> LabelledImages:
    """All parts' images, normalised alike."""
    first = parts[0]
    return LabelledImages(
        torch.cat([each.images for each in parts]),
        torch.cat([each.labels for each in parts]),
        first.classes,
        first.mean,
        first.std,
    )


def _central(bench: Federated, task: str, seed: int) -> dict[str, Any]:
    return bench.central(task, seed)


def _clients(bench: Federated, task: str, seed: int, split: str, way: str) -> dict[str, Any]:
    if way == "alone":
        return bench.alone(task, seed, split)
    return bench.together(task, seed, split, int(way.removeprefix("every")))


def compared(found: Rows) -> str:
    """Every arm's means, and what it is ahead of the central one."""
    body = []
    for name in ARMS:
        own = [row[name] for row in found.values()]
        figures = ("learned", "shuffled", "solved", "pooled", "own")
        cells = [f"{100 * fmean(each[key] for each in own):.1f}" for key in figures]
        leads = []
        for key in ("pooled", "own"):
            ahead = lead(found, fmean, partial(_ahead, name=name, key=key))
            leads.append("" if name == CENTRAL else str(ahead))
        sent = f"{fmean(each['megabytes'] for each in own):.1f}"
        spent = f"{fmean(each['seconds'] for each in own):.0f} s"
        body.append((name.replace("-", ", "), *cells, *leads, sent, spent))
    return table(
        (
            "arm (alone: best client)", "valid", "mixed statistics", "solved head",
            "retrained on all", "retrained by them", "- central", "- central", "MB", "CPU",
        ),
        body,
    )  # fmt: skip


def _ahead(row: Mapping[str, Any], name: str, key: str) -> float:
    return float(row[name][key] - row[CENTRAL][key])


def main() -> None:
    """Measure what is missing, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("suite", type=Path)
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--seeds", type=int, default=2)
    for name in ("channels", "epochs", "retraining", "images", "rate"):
        default = getattr(Settings(), name)
        parser.add_argument(f"--{name}", type=type(default), default=default)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--jobs", type=int, default=1)
    given = vars(parser.parse_args())
    suite, tasks, seeds, device, jobs = (
        given.pop(name) for name in ("suite", "tasks", "seeds", "device", "jobs")
    )
    bench = Federated(suite, ROOT, asdict(Settings(**given)), device)
    failed = finish(bench, list(bench.units(tasks, seeds)), jobs)
    found = whole(bench, tasks, seeds, lambda task, seed: {n: f"{task}-{seed}-{n}" for n in ARMS})
    print(f"\n{len(found)} pairs of task and seed:\n")
    if found:
        print(compared(found))
    conclude(failed)


if __name__ == "__main__":
    main()
