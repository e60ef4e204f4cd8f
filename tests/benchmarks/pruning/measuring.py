"""One network, its subsets by every arm, and what each is worth when it is trained anew."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_model
from torch import nn
from torchvision.models import resnet18

from core.nas.evaluate import evaluate
from core.nas.images import LabelledImages
from core.nas.loop import MEASURING_BATCH
from core.nas.network import parameter_count
from core.nas.normalisation import reestimate
from core.nas.pruning.backbone import Backbone, redraw
from core.nas.pruning.channels import ChannelComponents
from core.nas.pruning.components import by_group, mask_from_dict, mask_to_dict
from core.nas.pruning.controls import magnitude_scores, random_scores
from core.nas.pruning.subset import Subset, search
from core.nas.pruning.subset_config import SubsetConfig
from core.nas.retrain import RetrainConfig, RetrainState, retrain
from tests.benchmarks.results import Filed
from tests.benchmarks.suite import read_labelled
from tests.benchmarks.units import Unit

FULL, SEARCHED, RANDOM = "full", "searched", "random"
MAGNITUDES = {"kernels": "L1 of kernels", "scales": "scales of norms"}
ARMS = (SEARCHED, RANDOM, *MAGNITUDES)
_EVERYTHING = 10**9
_VERSION = 2  # results of another version of the harness are not taken for this one's


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that decides a result but task, seed and arm.

    Args:
        side: Pixels.
        images: Train images of a task, at most.
        epochs: Of every training from fresh weights.
        search_epochs: Of a search for a subset, on halves of the train images.
        weights: ``fresh`` for every arm, or ``kept``: what is left of the network that was
            trained for the magnitudes, for all arms alike.
        blocks: Whether residual blocks are components, too.
        source: The task that is searched and measured for magnitudes on; None for the target.
    """

    side: int = 32
    images: int = 800
    epochs: int = 10
    search_epochs: int = 15
    weights: str = "fresh"
    blocks: bool = False
    source: str | None = None

    def training(self, seed: int) -> RetrainConfig:
        """Of the whole network and of every part of it."""
        return RetrainConfig(
            epochs=self.epochs, batch_size=32, learning_rate=0.05, weight_decay=5e-4, seed=seed
        )

    def searching(self, seed: int, share: float) -> SubsetConfig:
        """Of a search: the product's settings but for the length."""
        return SubsetConfig(
            epochs=self.search_epochs,
            batch_size=32,
            learning_rate=0.05,
            weight_decay=5e-4,
            target=share,
            seed=seed,
        )


@dataclass(frozen=True, slots=True)
class Pruning(Filed):
    """Measures arms, and keeps what each found in a file of its own.

    Args:
        suite: Folder of TASK.zip archives.
        root: Where results gather, in a folder for these settings.
        settings: Of all that is measured.
        device: Where.
    """

    suite: Path
    root: Path
    settings: Settings
    device: str = "cpu"

    def units(self, tasks: Sequence[str], seeds: int, shares: Sequence[float]) -> Iterator[Unit]:
        """Everything to measure: seed after seed, and whole networks before their parts."""
        for seed in range(seeds):
            sources = [task for task in (self.settings.source,) if task and task not in tasks]
            for task in (*sources, *tasks):
                yield Unit(named(task, seed, FULL), FULL, partial(_whole, task=task, seed=seed))
            for task in tasks:
                needs = {named(each, seed, FULL) for each in (task, self.settings.source or task)}
                for share in shares:
                    for arm in ARMS:
                        part = partial(_part, task=task, seed=seed, arm=arm, share=share)
                        yield Unit(named(task, seed, arm, share), arm, part, tuple(needs))

    def whole(self, task: str, seed: int) -> dict[str, Any]:
        """The whole network, trained on a task; its weights are kept for the arms that ask."""
        images, _ = self.images(task, seed)
        started = self.clock()
        model = quarter(images.classes, seed, self.settings.side).to(self.device)
        self._train(model, images, seed)
        took = self.clock() - started
        with self.writing(self.weights(task, seed).name) as path:
            save_model(model, str(path))
        return self._measured(model, task, seed) | {"choosing": 0.0, "training": took}

    def part(
        self, task: str, seed: int, arm: str, share: float, *, kept: Path | None = None
    ) -> dict[str, Any]:
        """A part of the whole network: test accuracy, size, seconds, and the mask.

        Its weights are written to `kept`, where that is given.
        """
        started = self.clock()
        mask = self._mask(task, seed, arm, share)
        chosen = self.clock() - started
        started = self.clock()
        model = self._left(task, seed, mask)
        self._train(model, self.images(task, seed)[0], seed)
        took = self.clock() - started
        if kept is not None:
            save_model(model, str(kept))
        found = self._measured(model, task, seed)
        return found | {"choosing": chosen, "training": took, "mask": mask}

    def _measured(self, model: Backbone, task: str, seed: int) -> dict[str, Any]:
        accuracy = evaluate(model, self.images(task, seed)[1], MEASURING_BATCH).accuracy
        return {"accuracy": accuracy, "parameters": parameter_count(model)}

    def images(self, task: str, seed: int) -> tuple[LabelledImages, LabelledImages]:
        """Train and test images of a task; which ones, the seed decides."""
        size = self.settings
        train, test = read_labelled(
            self.suite, task, side=size.side, train=size.images, test=_EVERYTHING, seed=seed
        )
        return train.with_channels(3).to(self.device), test.with_channels(3).to(self.device)

    @property
    def clock(self) -> Callable[[], float]:
        """CPU seconds of the process, its one thread; where a GPU computes, those on the wall."""
        return time.process_time if self.device == "cpu" else time.perf_counter

    def _mask(self, task: str, seed: int, arm: str, share: float) -> dict[str, list[int]]:
        """Chosen on the source; the head is no part of it, but of the cost."""
        source = self.settings.source or task
        images, _ = self.images(source, seed)
        if arm in MAGNITUDES:
            components = self._components(self._trained_whole(source, seed))
            scores = magnitude_scores(components, "kernels" if arm == "kernels" else "scales")
        else:
            components = self._components(self._fresh(source, seed))
        if arm == SEARCHED:
            mask = self._searched(components, images, seed, share).mask
        else:
            if arm == RANDOM:
                scores = random_scores(components, torch.Generator().manual_seed(seed))
            mask = components.fit(scores, share)
        return mask_to_dict(mask, components.sizes)

    def _searched(
        self, components: ChannelComponents, images: LabelledImages, seed: int, share: float
    ) -> Subset:
        return search(components, *images.halves(seed), self.settings.searching(seed, share))

    def _components(self, model: Backbone) -> ChannelComponents:
        side = self.settings.side
        images = torch.zeros(1, 3, side, side, device=self.device)
        return ChannelComponents(model, images, blocks=self.settings.blocks)

    def _left(self, task: str, seed: int, mask: Mapping[str, list[int]]) -> Backbone:
        """What a mask leaves of the whole network, not trained yet."""
        if self.settings.weights == "kept":
            model = self._trained_whole(task, seed)
        else:
            model = self._fresh(task, seed)
        components = self._components(model)
        model = components.pruned(mask_from_dict(mask, components.sizes))
        if self.settings.weights == "fresh":
            redraw(model, torch.Generator().manual_seed(seed))
        return model

    def _fresh(self, task: str, seed: int) -> Backbone:
        classes = self.images(task, seed)[0].classes
        return quarter(classes, seed, self.settings.side).to(self.device)

    def _trained_whole(self, task: str, seed: int) -> Backbone:
        model = self._fresh(task, seed)
        load_model(model, self.weights(task, seed))
        return model

    def weights(self, task: str, seed: int) -> Path:
        """Where the weights of a whole network lie that was trained on a task."""
        return self.folder / f"{task}-{seed}.safetensors"

    def _train(self, model: Backbone, images: LabelledImages, seed: int) -> None:
        config = self.settings.training(seed)
        train, valid = images.split(0.95, seed)
        for _ in retrain(RetrainState(model, config), train, valid, config):
            pass
        reestimate(model, train.batches(MEASURING_BATCH))

    @property
    def decided(self) -> Any:
        """As `Filed` says."""
        searching = asdict(self.settings.searching(0, 0.5))
        return [asdict(self.settings), searching, self.device.partition(":")[0], _VERSION]


def named(task: str, seed: int, arm: str, share: float = 1.0) -> str:
    """The unit of an arm."""
    return f"{task}-{seed}-{arm}" + ("" if arm == FULL else f"-{share:g}")


def _whole(bench: Pruning, task: str, seed: int) -> dict[str, Any]:
    return bench.whole(task, seed)


def _part(bench: Pruning, task: str, seed: int, arm: str, share: float) -> dict[str, Any]:
    return bench.part(task, seed, arm, share)


def quarter(classes: int, seed: int, side: int) -> Backbone:
    """A quarter of torchvision's ResNet18 in width, without its max pooling, of fresh weights.

    Pictures of the suite have 32 pixels a side where the original has 224: with both strides of
    its stem the last stage would see a single pixel. Channels are taken off by the code under
    measurement; 16 to 128 of them train in seconds where 64 to 512 take minutes.
    """
    generator = torch.Generator().manual_seed(seed)
    body = resnet18(weights=None)
    body.maxpool = nn.Identity()
    components = ChannelComponents(
        Backbone(body, classes, generator), torch.zeros(1, 3, side, side), chunks=4, blocks=False
    )
    first = torch.zeros(components.count)
    for part in by_group(first, components.sizes).values():
        part[0] = 1.0
    model = components.pruned(first)
    redraw(model, generator)
    return model
