"""Random architectures: what each is worth when trained, and what pre-screens say of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from core.nas.evaluate import evaluate
from core.nas.genotype import Genotype
from core.nas.images import LabelledImages, epoch_generator
from core.nas.loop import MEASURING_BATCH, TrainingConfig
from core.nas.network import Network, flops, inherit, parameter_count
from core.nas.normalisation import reestimate
from core.nas.retrain import RetrainConfig, RetrainState, retrain
from core.nas.search import SearchConfig, SearchState, run
from core.nas.selection.best_of import Proposal, Scorer
from core.nas.selection.prescreens import PRESCREENS, SEEN
from core.nas.selection.variation import uniform_sample
from core.nas.space import Space
from core.nas.supernet import Supernet
from tests.benchmarks.evolution.kept import Kept
from tests.benchmarks.units import Unit

FRESH, INHERITED = "fresh", "inherited"
_IMAGES, _DRAWS = 91, 92  # streams of `epoch_generator`


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that decides a result but task, architecture and seed.

    Args:
        side: Pixels.
        images: Train images of a task, at most.
        channels: Of the first cells.
        layers: Cells.
        nodes: Of a cell.
        architectures: Drawn at random, the same for all tasks.
        epochs: Of a training from fresh weights.
        search_epochs: Of the supernet that weights are inherited from.
        batch_size: Of all trainings.
        learning_rate: Of trainings from fresh weights.
        version: Results of another one are not taken for this one's.
    """

    side: int = 16
    images: int = 600
    channels: int = 8
    layers: int = 5
    nodes: int = 2
    architectures: int = 32
    epochs: int = 8
    search_epochs: int = 15
    batch_size: int = 32
    learning_rate: float = 0.1
    version: int = 2


class Prescreens(Kept):
    """Measures architectures and scores, and keeps each in a file of its own."""

    @property
    def space(self) -> Space:
        """Of all architectures and supernets."""
        return Space(**{name: self.settings[name] for name in ("channels", "layers", "nodes")})

    def architectures(self) -> list[Genotype]:
        """The same for all tasks and seeds, all different."""
        generator, found = epoch_generator(0, 0, _DRAWS), dict[Genotype, None]()
        while len(found) < self.settings["architectures"]:
            found[uniform_sample(self.space, generator)] = None
        return list(found)

    def units(self, tasks: Sequence[str], seeds: int) -> Iterator[Unit]:
        """Everything to measure: supernets, one training of each, scores, further trainings."""
        everyone = range(self.settings["architectures"])
        for task in tasks:
            yield Unit(supernet_of(task), "supernet", partial(_supernet, task=task))
        for seed in range(seeds):
            for at in everyone:
                for task in tasks:
                    part = partial(_trained, task=task, at=at, seed=seed)
                    yield Unit(trained_of(task, at, seed), "training", part)
            if seed:
                continue
            for at in everyone:
                for task in tasks:
                    part = partial(_scores, task=task, at=at)
                    yield Unit(scores_of(task, at), "scores", part, (supernet_of(task),))

    def network(self, task: str, at: int, seed: int) -> Network:
        """An architecture with fresh weights."""
        classes = self.images(task, seed)[0].classes
        generator = torch.Generator().manual_seed(seed)
        return Network(self.space, self.architectures()[at], classes, generator).to(self.device)

    def supernet(self, task: str) -> Supernet:
        """A fresh one for the task."""
        images, _ = self.images(task, 0)
        supernet = Supernet(self.space, images.classes, torch.Generator().manual_seed(0))
        return supernet.to(self.device)

    def train(self, network: Network, images: LabelledImages, epochs: int, seed: int) -> None:
        """From the weights that it has; statistics are measured in the end."""
        train, valid = images.split(0.95, seed)
        config = RetrainConfig(
            epochs=epochs,
            batch_size=self.settings["batch_size"],
            learning_rate=self.settings["learning_rate"],
            statistics_images=128,  # of the measurements between epochs, which nobody reads
            seed=seed,
        )
        for _ in retrain(RetrainState(network, config), train, valid, config):
            pass
        reestimate(network, train.batches(MEASURING_BATCH))


def supernet_of(task: str) -> str:
    """The unit that searches on a task."""
    return f"{task}-supernet"


def trained_of(task: str, at: int, seed: int) -> str:
    """The unit that trains an architecture."""
    return f"{task}-{at}-trained{seed}"


def scores_of(task: str, at: int) -> str:
    """The unit that scores an architecture."""
    return f"{task}-{at}-scores"


def _supernet(bench: Prescreens, task: str) -> dict[str, Any]:
    began = time.process_time()
    config = SearchConfig(
        epochs=bench.settings["search_epochs"],
        batch_size=bench.settings["batch_size"],
        learning_rate=0.1,
        alpha_learning_rate=3e-3,
        solve_head=True,
        seed=0,
    )
    supernet, (images, _) = bench.supernet(task), bench.images(task, 0)
    *_, last = run(SearchState(supernet), *images.halves(0), config)
    with bench.writing(f"{task}.safetensors") as path:
        save_file(supernet.state_dict(), path)
    return {"valid": last.valid_accuracy, "seconds": time.process_time() - began}


def _trained(bench: Prescreens, task: str, at: int, seed: int) -> dict[str, Any]:
    began = time.process_time()
    images, test = bench.images(task, seed)
    network = bench.network(task, at, seed)
    bench.train(network, images, bench.settings["epochs"], seed)
    found = evaluate(network, test, MEASURING_BATCH)
    seconds = time.process_time() - began
    return {"accuracy": found.accuracy, "loss": found.loss, "seconds": seconds}


def _scores(bench: Prescreens, task: str, at: int) -> dict[str, Any]:
    half, valid = bench.images(task, 0)[0].halves(0)
    genotype, supernet = bench.architectures()[at], bench.supernet(task)
    supernet.load_state_dict(load_file(bench.folder / f"{task}.safetensors"))
    some = half.sample(SEEN, epoch_generator(0, 0, _IMAGES))
    pixels, labels = some.normalise(some.images), some.labels
    tuning = TrainingConfig(epochs=1, batch_size=bench.settings["batch_size"], learning_rate=0.05)

    def epoch() -> float:
        network = bench.network(task, at, 0)
        bench.train(network, half, 1, 0)
        return evaluate(network, valid, MEASURING_BATCH).accuracy

    def inherited(tuning: TrainingConfig | None) -> float:
        scorer = Scorer(supernet, half, valid, seed=0, tuning=tuning)
        return scorer(Proposal(genotype, "bench")).accuracy

    def screened(name: str, weights: str) -> float:
        fresh = weights == FRESH
        network = bench.network(task, at, 0) if fresh else inherit(supernet, genotype)
        return PRESCREENS[name](network.train(), pixels, labels)

    scores: dict[str, Callable[[], float]] = {
        "parameters": lambda: parameter_count(bench.network(task, at, 0)),
        "FLOPs": lambda: flops(bench.network(task, at, 0), bench.settings["side"]),
        f"one epoch, {FRESH}": epoch,
        f"one epoch, {INHERITED}": partial(inherited, tuning),
        f"validation, {INHERITED}": partial(inherited, None),
    }
    for weights in (FRESH, INHERITED):
        scores |= {f"{name}, {weights}": partial(screened, name, weights) for name in PRESCREENS}
    found = {}
    for name, score in scores.items():
        began = time.process_time()
        value = score()
        found[name] = {"score": value, "seconds": time.process_time() - began}
    return found
