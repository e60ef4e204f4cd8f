"""What several trained networks together are worth, beside one that is trained for longer.

Run from the project root::

    python -m tests.benchmarks.bench_after_search SUITE [--tasks NAME ...] [--seeds 3] [--jobs 1]

SUITE is a folder of TASK.zip archives. Every task has one short search from random weights, and
one from the supernet of each of the other tasks; the cells of each are retrained from inherited
weights, with two seeds, on four fifths of the images. The rest choose: of these networks the best
(what is handed back now), the best three, three by SAEP, and all. Beside them: three at random
(the mean of twelve), and the best one's cells retrained for as long as three, with three seeds, or
half as wide again from fresh weights, for as many multiply-adds as three.

What is finished lies in ``var/bench``; a process has one thread.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from core.nas.derive import derive
from core.nas.evaluate import evaluate
from core.nas.images import LabelledImages
from core.nas.loop import MEASURING_BATCH
from core.nas.network import Network
from core.nas.normalisation import reestimate
from core.nas.retrain import RetrainConfig, RetrainState, retrain
from core.nas.search import SearchConfig, SearchState, run
from core.nas.space import Space
from core.nas.supernet import Supernet
from core.nas.warm_start import Source, begin
from tests.benchmarks.after_search.committees import Committee, choose
from tests.benchmarks.evolution.kept import Kept, inherited
from tests.benchmarks.results import Rows, conclude, lead, whole
from tests.benchmarks.transfer.spelling import table
from tests.benchmarks.units import Unit, finish

ROOT = Path("var/bench/after_search")
TASKS = ("fashion", "hiragana", "sprites_terrain", "texture_patches")
COMMITTEE, KIND = 3, "networks"
BEST, LONGER = "best by validation", "the same, retrained three times as long"
WIDER, WIDE = 3, "its cells, half as wide again, from fresh weights"  # halves of the width
SAME, THIRD = "its cells, retrained with three seeds", 1000  # the third's, plus the pair's


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that decides a result but task and seed.

    Args:
        side: Pixels.
        images: Train images of a task, at most.
        channels: Of the first cells.
        epochs: Of a search from random weights.
        continued: Of one from another task's supernet.
        retraining: Epochs of the derived cells, and again of the best of them.
    """

    side: int = 16
    images: int = 500
    channels: int = 4
    epochs: int = 10
    continued: int = 4
    retraining: int = 6
    version: int = 1


class AfterSearch(Kept):
    """Measures committees, and keeps what was found in files."""

    def units(self, tasks: Sequence[str], seeds: int) -> Iterator[Unit]:
        """Everything to measure, seed after seed."""
        for seed in range(seeds):
            sources = tuple(f"source-{task}-{seed}" for task in tasks)
            for task, name in zip(tasks, sources, strict=True):
                yield Unit(name, "source", partial(_source, task=task, seed=seed))
            for task in tasks:
                others = [each for each in tasks if each != task]
                part = partial(_networks, task=task, others=others, seed=seed)
                yield Unit(f"networks-{task}-{seed}", "networks", part, sources)

    def source(self, task: str, seed: int) -> dict[str, Any]:
        """A search from random weights, whose supernet is kept."""
        images, _ = self.images(task, seed)
        found = self.searched(images, None, seed)
        self.save(found, f"source-{task}-{seed}")
        return {}

    def networks(self, task: str, others: Sequence[str], seed: int) -> dict[str, Any]:
        """Test accuracies of committees of this task's networks."""
        images, test = self.images(task, seed)
        train, valid = images.split(0.8, seed)
        supernets = [self.load(f"source-{task}-{seed}", images.classes)]
        for other in others:
            source = self.load(f"source-{other}-{seed}").state_dict()
            supernets.append(self.searched(images, source, seed))
        members = list[Network]()
        for supernet in supernets:
            begun = inherited(supernet, derive(supernet, max_skips=2), train, seed)
            for order in (2 * seed, 2 * seed + 1):
                members.append(self.trained(deepcopy(begun), train, valid, seed=order))
        held = [evaluate(each, valid, MEASURING_BATCH) for each in members]
        # Accuracy on a hundred images has ties: the loss breaks them.
        ranked = sorted(range(len(held)), key=lambda i: (-held[i].accuracy, held[i].loss))
        best = members[ranked[0]]
        answers, truth = [each.answers.numpy() for each in held], valid.labels.numpy()

        def together(chosen: Sequence[int]) -> float:
            return worth(Committee([members[each] for each in chosen]), test)

        which = ranked[0] // 2
        origin = supernets[which]
        begun = inherited(origin, derive(origin, max_skips=2), train, seed)
        once_more = self.trained(deepcopy(begun), train, valid, seed=THIRD + seed)
        same = Committee([*members[2 * which : 2 * which + 2], once_more])
        longer = self.trained(begun, train, valid, seed=2 * seed, times=COMMITTEE)
        wider = Network(
            replace(self.space, channels=WIDER * self.space.channels // 2),
            begun.genotype, images.classes, torch.Generator().manual_seed(seed),
        )  # fmt: skip
        wider = self.trained(
            wider, train, valid, seed=2 * seed, times=4 * COMMITTEE / WIDER**2
        )  # whose steps are as much dearer, or less
        threes = list(combinations(range(len(members)), COMMITTEE))
        drawn = np.random.default_rng(seed).permutation(len(threes))[:12]
        return {
            BEST: worth(best, test),
            LONGER: worth(longer, test),
            SAME: worth(same, test),
            WIDE: worth(wider, test),
            "any one": fmean(worth(each, test) for each in members),
            "best three": together(ranked[:COMMITTEE]),
            "three by SAEP": together(choose(answers, truth, COMMITTEE, ranked[0])),
            "any three": fmean(together(threes[each]) for each in drawn),
            "all eight": together(ranked),
        }

    def searched(
        self, images: LabelledImages, source: Mapping[str, Tensor] | None, seed: int
    ) -> Supernet:
        """The supernet that a search leaves, from that source or from random weights."""
        halves = images.halves(seed)
        origin = self.space if source is None else Source(self.space, dict(source))
        supernet = begin(
            origin, images.classes, *halves,
            head="random" if source is None else "closed_form",
            generator=torch.Generator().manual_seed(seed), batch_size=MEASURING_BATCH,
        )  # fmt: skip
        config = SearchConfig(
            epochs=self.settings["epochs" if source is None else "continued"],
            batch_size=32, learning_rate=0.05, alpha_learning_rate=3e-3, seed=seed,
        )  # fmt: skip
        for _ in run(SearchState(supernet), *halves, config):
            pass
        reestimate(supernet, halves[0].batches(MEASURING_BATCH))
        return supernet

    def trained(
        self,
        network: Network,
        train: LabelledImages,
        valid: LabelledImages,
        *,
        seed: int,
        times: float = 1.0,
    ) -> Network:
        """The network, trained in place."""
        config = RetrainConfig(
            epochs=round(times * self.settings["retraining"]),
            batch_size=32,
            learning_rate=0.05,
            seed=seed,
        )
        for _ in retrain(RetrainState(network, config), train, valid, config):
            pass
        reestimate(network, train.batches(MEASURING_BATCH))
        return network

    @property
    def space(self) -> Space:
        """Of all supernets."""
        return Space(channels=self.settings["channels"], layers=3, nodes=3, input_channels=3)

    def save(self, supernet: Supernet, name: str) -> None:
        """Keep a supernet."""
        with self.writing(f"{name}.safetensors") as path:
            save_file(dict(supernet.state_dict()), path)

    def load(self, name: str, classes: int | None = None) -> Supernet:
        """A supernet that was kept; with that many classes, or as many as it has."""
        state: dict[str, Tensor] = load_file(self.folder / f"{name}.safetensors")
        supernet = Supernet(
            self.space, classes or len(state["classifier.bias"]), torch.Generator().manual_seed(0)
        )
        supernet.load_state_dict(state)
        return supernet


def worth(network: Any, test: LabelledImages) -> float:
    """Test accuracy."""
    return evaluate(network, test, MEASURING_BATCH).accuracy


def _source(bench: AfterSearch, task: str, seed: int) -> dict[str, Any]:
    return bench.source(task, seed)


def _networks(bench: AfterSearch, task: str, others: Sequence[str], seed: int) -> dict[str, Any]:
    return bench.networks(task, others, seed)


def against(found: Rows, control: str) -> str:
    """Every arm's mean, and how far it is ahead of the control."""

    def ahead(row: Mapping[str, Any], arm: str) -> float:
        return float(row[KIND][arm] - row[KIND][control])

    body = []
    for arm in COMMITTEES:
        mean = 100 * fmean(row[KIND][arm] for row in found.values())
        of = lead(found, fmean, partial(ahead, arm=arm))
        body.append((arm, f"{mean:.1f}", str(of), of.balance, of.tasks_won))
    return table(("", "test", f"over {control}", "won-lost", "tasks"), body)


COMMITTEES = (
    BEST,
    "any one",
    LONGER,
    WIDE,
    SAME,
    "best three",
    "three by SAEP",
    "any three",
    "all eight",
)


def main() -> None:
    """Measure what is missing, and print tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("suite", type=Path)
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--seeds", type=int, default=3)
    for name in ("images", "epochs", "continued", "retraining"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Settings(), name))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--jobs", type=int, default=1)
    given = vars(parser.parse_args())
    suite, tasks, seeds, device, jobs = (
        given.pop(name) for name in ("suite", "tasks", "seeds", "device", "jobs")
    )
    bench = AfterSearch(suite, ROOT, asdict(Settings(**given)), device)
    failed = finish(bench, list(bench.units(tasks, seeds)), jobs)
    found = whole(bench, tasks, seeds, lambda task, seed: {KIND: f"networks-{task}-{seed}"})
    print(f"\n{len(found)} pairs of task and seed")
    for control in (BEST, LONGER, WIDE) if found else ():
        print(f"\n{against(found, control)}")
    conclude(failed)


if __name__ == "__main__":
    main()
