"""What benchmarks of short searches share: tasks, fresh supernets, a short retraining."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from core.nas.evaluate import evaluate
from core.nas.genotype import Genotype
from core.nas.head import fit_head, remove_temperature
from core.nas.images import LabelledImages
from core.nas.loop import MEASURING_BATCH
from core.nas.network import Network, inherit
from core.nas.normalisation import reestimate
from core.nas.retrain import RetrainConfig, RetrainState, retrain
from core.nas.space import Space
from core.nas.supernet import Supernet
from tests.benchmarks.results import Filed
from tests.benchmarks.suite import read_labelled

TEST_IMAGES = 2000


@dataclass(frozen=True, slots=True)
class Kept(Filed):
    """Measures one set of settings.

    Args:
        suite: Folder of TASK.zip archives.
        root: Where results gather, in a folder for these settings.
        settings: A dataclass as a dictionary; all that decides a result.
        device: Where.
    """

    suite: Path
    root: Path
    settings: Mapping[str, Any]
    device: str

    @property
    def decided(self) -> Any:
        """As `Filed` says."""
        return [dict(self.settings), self.device]

    def images(self, task: str, seed: int) -> tuple[LabelledImages, LabelledImages]:
        """Train and test images of a task, three channels; a process reads them once."""
        side, images = self.settings["side"], self.settings["images"]
        return _read(self.suite, task, side, images, seed, self.device)

    def fresh(self, classes: int, seed: int) -> Supernet:
        """A supernet of random weights."""
        space = Space(channels=self.settings["channels"], layers=3, nodes=3, input_channels=3)
        return Supernet(space, classes, torch.Generator().manual_seed(seed)).to(self.device)


@cache
def _read(
    suite: Path, task: str, side: int, images: int, seed: int, device: str
) -> tuple[LabelledImages, LabelledImages]:
    found = read_labelled(suite, task, side=side, train=images, test=TEST_IMAGES, seed=seed)
    train, test = (part.with_channels(3).to(device) for part in found)
    return train, test


def inherited(
    supernet: Supernet, genotype: Genotype, images: LabelledImages, seed: int
) -> Network:
    """The derived network with a solved head, ready to be retrained."""
    network = inherit(supernet, genotype)
    train, valid = images.split(0.85, seed)
    reestimate(network, train.batches(MEASURING_BATCH))
    remove_temperature(network, fit_head(network, train, valid, batch_size=MEASURING_BATCH))
    return network


def retrained(
    network: Network, images: LabelledImages, test: LabelledImages, *, epochs: int, seed: int
) -> float:
    """Test accuracy after a short retraining on all `images`."""
    train, valid = images.split(0.95, seed)
    config = RetrainConfig(epochs=epochs, batch_size=32, learning_rate=0.05, seed=seed)
    for _ in retrain(RetrainState(network, config), train, valid, config):
        pass
    reestimate(network, train.batches(MEASURING_BATCH))
    return evaluate(network, test, MEASURING_BATCH).accuracy
