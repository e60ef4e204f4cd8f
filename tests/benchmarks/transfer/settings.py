"""What is measured, at which size, and where the results of finished units lie."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

from core.domain.datasets import DatasetId
from core.domain.searches import SearchSpec, Training
from core.nas.images import LabelledImages
from core.nas.space import Space
from core.pipelines.bilevel import INPUT_CHANNELS
from core.services import wire
from tests.benchmarks.results import Filed
from tests.benchmarks.suite import domains, read_labelled

# Results of another version of the harness are not taken for this one's.
_VERSION = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Sizes of networks, tasks and trainings; what is not here is as the product sets it.

    Args:
        name: Of the scale.
        targets: Tasks to measure on, taken evenly from all domains; None for every task.
        side: Pixels.
        channels: Of the space; every start has the same.
        layers: Likewise.
        images: Train images of a target, at most; half move the weights in a search.
        tested: Test images, at most.
        batch_size: Of all trainings.
        epochs: Of a search.
        retrain_epochs: Of the derived network.
        cold_rates: Learning rates that the cold start with a random head may choose from.
        control_seeds: Seeds on which the controls run: farthest and random source, a random cell
            trained for as many seconds, ResNet18.
        samples: Candidates drawn by the alphas that are scored beside the product's choice.
        children: Candidates evolved from the best of them.
        random_cells: Cells as large as the chosen one that inherit for comparison.
        source_images: Train images of a source, at most.
        source_epochs: Of a source's own supernet.
        rounds: Of a supernet of several datasets.
        steps: In a round.
        paths: Sub-networks that learn beside its mixture.
        folds: Supernets of several datasets; each has not seen one fold of the tasks.
    """

    name: str
    targets: int | None
    side: int
    channels: int
    layers: int
    images: int
    tested: int
    batch_size: int
    epochs: int
    retrain_epochs: int
    cold_rates: tuple[float, ...]
    control_seeds: int = 1
    samples: int
    children: int
    random_cells: int = 3
    source_images: int
    source_epochs: int
    rounds: int
    steps: int = 100
    paths: int = 2
    folds: int = 3


SCALES: Mapping[str, Scale] = {
    "tiny": Scale(
        name="tiny",
        targets=12,
        side=12,
        channels=4,
        layers=3,
        images=400,
        tested=400,
        batch_size=32,
        epochs=10,
        retrain_epochs=6,
        cold_rates=(0.05, 0.2),
        samples=3,
        children=3,
        source_images=1000,
        source_epochs=6,
        rounds=16,
    ),
    "small": Scale(
        name="small",
        targets=12,
        side=16,
        channels=8,
        layers=4,
        images=1000,
        tested=400,
        batch_size=64,
        epochs=12,
        retrain_epochs=12,
        cold_rates=(0.05, 0.1, 0.2),
        samples=6,
        children=6,
        source_images=1000,
        source_epochs=10,
        rounds=10,
    ),
    "full": Scale(
        name="full",
        targets=None,
        side=32,
        channels=16,
        layers=8,
        images=2000,
        tested=10_000,
        batch_size=64,
        epochs=30,
        retrain_epochs=30,
        cold_rates=(0.025, 0.05, 0.1, 0.2),
        samples=12,
        children=12,
        source_images=2000,
        source_epochs=20,
        rounds=40,
    ),
}


@dataclass(frozen=True, slots=True)
class Bench(Filed):
    """One benchmark: its suite, its settings, and the folder where its results gather.

    What decides its results are all settings, the device and the archives.
    """

    suite: Path
    root: Path
    scale: Scale
    device: str
    resnet18: Path | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides a result, JSON-able."""
        return {
            **asdict(self.scale),
            "cold_solved_rate": self.spec(0).rates(warm=False)[0],
            "warm_rate": self.spec(0).rates(warm=True)[0],
            "device": self.device.partition(":")[0],
            "request": wire.dump(self.spec(0)),
            "version": _VERSION,
        }

    @property
    def decided(self) -> Any:
        """As `Filed` says."""
        return [self.settings, *(checksum(self.suite / f"{n}.zip") for n in self.domains)]

    @property
    def domains(self) -> dict[str, str]:
        """The domain of every task."""
        return _domains(self.suite)

    @property
    def clock(self) -> Callable[[], float]:
        """CPU seconds of the process, its one thread, which other work on the machine does not
        change; where a GPU computes, seconds on the wall."""
        return time.process_time if self.device == "cpu" else time.perf_counter

    @property
    def space(self) -> Space:
        """The space of every supernet."""
        return Space(
            channels=self.scale.channels,
            layers=self.scale.layers,
            input_channels=INPUT_CHANNELS,
        )

    def spec(self, seed: int) -> SearchSpec:
        """The request to the product's pipelines that this scale stands for."""
        scale = self.scale
        return SearchSpec(
            dataset_id=DatasetId(UUID(int=0)),
            embedder="",
            training=Training(epochs=scale.epochs, batch_size=scale.batch_size, seed=seed),
            retrain_epochs=scale.retrain_epochs,
        )

    def images(self, task: str, seed: int) -> tuple[LabelledImages, LabelledImages]:
        """A target's train and test images; which ones, the seed decides."""
        return self._read(task, self.scale.images, seed)

    def source_images(self, task: str) -> LabelledImages:
        """A source's train images."""
        return self._read(task, self.scale.source_images, 0)[0]

    def _read(self, task: str, count: int, seed: int) -> tuple[LabelledImages, LabelledImages]:
        scale = self.scale
        found = read_labelled(
            self.suite, task, side=scale.side, train=count, test=scale.tested, seed=seed
        )
        train, test = (each.with_channels(INPUT_CHANNELS).to(self.device) for each in found)
        return train, test


@cache
def checksum(path: Path) -> str:
    """SHA-256 of a file that does not change while this runs."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@cache
def _domains(suite: Path) -> dict[str, str]:
    return domains(suite)
