"""A few images of a target, and what networks make of them that learned elsewhere or nowhere."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from core.nas.evaluate import evaluate
from core.nas.head import fit_head, remove_temperature
from core.nas.images import LabelledImages, epoch_generator
from core.nas.loop import MEASURING_BATCH
from core.nas.network import parameter_count
from core.nas.normalisation import reestimate
from core.nas.pruning.backbone import Backbone, redraw
from core.nas.pruning.channels import ChannelComponents
from core.nas.pruning.components import mask_from_dict
from core.nas.pruning.controls import random_scores
from core.nas.retrain import RetrainConfig, RetrainState, retrain
from core.ot import embedded_dataset, embedders, ranking
from core.ot.dataset_distance import OTDDConfig
from core.ot.source_block import concatenate, summarise
from tests.benchmarks.few_shot.tuning import Tuning, moving, prepare
from tests.benchmarks.pruning.measuring import SEARCHED, Pruning, quarter
from tests.benchmarks.pruning.measuring import Settings as SourceSettings
from tests.benchmarks.results import Filed
from tests.benchmarks.suite import read_labelled, read_parts, task_names
from tests.benchmarks.units import Unit

ORDER = "order"
_RANKED = OTDDConfig()
_ALL = 10**9
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Arm:
    """A network for few images.

    Args:
        told: What it is, in the table.
        part: ``whole``, the source's ``mask``, or one of the same size by ``chance``.
        tuning: How the source's weights go on; None for fresh ones.
    """

    told: str
    part: str
    tuning: Tuning | None = None


SCRATCH = "scratch"
ARMS: Mapping[str, Arm] = {
    SCRATCH: Arm("whole, fresh weights", "whole"),
    "chance": Arm("by chance, fresh weights", "chance"),
    "mask": Arm("mask, fresh weights", "mask"),
    "whole-all": Arm("whole, source's weights", "whole", "everything"),
    "mask-all": Arm("mask, source's weights", "mask", "everything"),
    "mask-adapters": Arm("mask, adapters", "mask", "adapters"),
    "mask-head": Arm("mask, frozen trunk", "mask", "head"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that decides a result but target, shots, draw and arm.

    Args:
        share: Of the parameters that a mask leaves.
        steps: Of every training on few images, about.
        batch_size: At most.
        rate: Learning rate of fresh weights.
        tuned_rate: Of weights that come from the source, and of adapters.
        tested: Test images, at most.
    """

    share: float = 0.5
    steps: int = 200
    batch_size: int = 32
    rate: float = 0.02
    tuned_rate: float = 0.02
    tested: int = 1000
    source: SourceSettings = field(default_factory=SourceSettings)


@dataclass(frozen=True)
class FewShot(Filed):
    """Measures arms; a result is a file of its own.

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

    @cached_property
    def sources(self) -> Pruning:
        """Whole networks and parts of them, trained on sources."""
        return Pruning(self.suite, self.folder, self.settings.source, self.device)

    def units(
        self, targets: Sequence[str], shots: Sequence[int], draws: int, arms: Sequence[str]
    ) -> Iterator[Unit]:
        """What the sources are needed for first, then draw after draw."""
        nearest = {target: self.result(ORDER)[target] for target in targets}
        for source in sorted(set(nearest.values())):
            yield Unit(f"source-{source}", "source", partial(_source, task=source))
        for draw in range(draws):
            for target in targets:
                needs = (f"source-{nearest[target]}",)
                for few in shots:
                    for arm in arms:
                        given = {"target": target, "shots": few, "draw": draw, "arm": arm}
                        yield Unit(named(**given), arm, partial(_arm, **given), needs)

    def order(self, targets: Sequence[str]) -> dict[str, Any]:
        """The nearest other task of each target, as the product ranks them."""
        model, found = embedders.create(device=self.device), {}
        for task in task_names(self.suite):
            images, labels, classes = read_parts(self.suite, task, ("train",))["train"]
            features = model.embed(images)
            found[task] = embedded_dataset.build(
                features, labels, classes, embedder=model.identifier
            )
        short = {n: summarise(each, samples=_RANKED.samples) for n, each in found.items()}
        nearest = {}
        for target in targets:
            others = [name for name in found if name != target]
            block, read = concatenate([short[n] for n in others]), [found[n] for n in others]
            ranked = ranking.rank(found[target], block, read.__getitem__, _RANKED, k=3, budget=0)
            nearest[target] = others[ranked.neighbours[0].row]
        return nearest

    def source(self, task: str) -> dict[str, Any]:
        """The whole network and a searched part of it, trained on a source; both are kept."""
        whole = self.sources.whole(task, 0)
        share = self.settings.share
        part = self.sources.part(task, 0, SEARCHED, share, kept=self._part(task))
        return {"whole": whole["accuracy"], **part}

    def arm(self, target: str, shots: int, draw: int, arm: str) -> dict[str, Any]:
        """Test accuracy of an arm, its size, how much of it learned, and seconds."""
        given, source = ARMS[arm], self.result(ORDER)[target]
        few, test = self.images(target, shots, draw)
        started = self.sources.clock()
        model = self._begun(given, source, few, draw)
        if given.tuning is not None:
            prepare(model, given.tuning, torch.Generator().manual_seed(draw))
        learned = sum(each.numel() for each in moving(model))
        if given.tuning != "head":
            self._train(model, few, given, draw)
        took = self.sources.clock() - started
        return {
            "accuracy": evaluate(model, test, MEASURING_BATCH).accuracy,
            "parameters": parameter_count(model),
            "learned": learned,
            "seconds": took,
            "images": len(few),
        }

    def images(self, target: str, shots: int, draw: int) -> tuple[LabelledImages, LabelledImages]:
        """So many train images of every class, or all there are, and test images."""
        train, test = read_labelled(
            self.suite,
            target,
            side=self.settings.source.side,
            train=_ALL,
            test=self.settings.tested,
            seed=0,
        )
        order = torch.randperm(len(train), generator=epoch_generator(draw, shots))
        of_class = [order[train.labels[order] == label][:shots] for label in range(train.classes)]
        few = train.take(torch.cat(of_class))
        measured = LabelledImages.measured(few.images, few.labels, few.classes)
        there = LabelledImages(test.images, test.labels, test.classes, measured.mean, measured.std)
        return measured.with_channels(3).to(self.device), there.with_channels(3).to(self.device)

    def _begun(self, arm: Arm, source: str, few: LabelledImages, draw: int) -> Backbone:
        side = self.settings.source.side
        model = quarter(few.classes, draw, side).to(self.device)
        if arm.part != "whole":
            components = ChannelComponents(
                model, torch.zeros(1, 3, side, side, device=self.device), blocks=False
            )
            if arm.part == "mask":
                kept = self.result(f"source-{source}")["mask"]
                mask = mask_from_dict(kept, components.sizes)
            else:
                generator = torch.Generator().manual_seed(draw)
                mask = components.fit(random_scores(components, generator), self.settings.share)
            model = components.pruned(mask)
        if arm.tuning is None:
            redraw(model, torch.Generator().manual_seed(draw))
            return model
        whole = self.sources.weights(source, 0)
        weights = load_file(whole if arm.part == "whole" else self._part(source))
        state = {n: v for n, v in weights.items() if not n.startswith("classifier.")}
        model.load_state_dict(state, strict=False)
        reestimate(model, few.batches(MEASURING_BATCH))
        solution = fit_head(model, *few.split(0.8, draw), batch_size=MEASURING_BATCH)
        if arm.tuning != "head":
            remove_temperature(model, solution)
        return model

    def _train(self, model: Backbone, few: LabelledImages, arm: Arm, draw: int) -> None:
        size = self.settings
        config = RetrainConfig(
            epochs=math.ceil(size.steps / math.ceil(len(few) / size.batch_size)),
            batch_size=size.batch_size,
            learning_rate=size.rate if arm.tuning is None else size.tuned_rate,
            weight_decay=5e-4,
            seed=draw,
        )
        some = few.take(torch.arange(min(len(few), 8)))  # is measured, and decides nothing
        for _ in retrain(RetrainState(model, config), few, some, config):
            pass
        reestimate(model, few.batches(MEASURING_BATCH))

    def _part(self, task: str) -> Path:
        return self.folder / f"part-{task}.safetensors"

    @property
    def decided(self) -> Any:
        """As `Filed` says."""
        kind, tasks = self.device.partition(":")[0], task_names(self.suite)
        return [asdict(self.settings), kind, tasks, _VERSION]


def named(target: str, shots: int, draw: int, arm: str) -> str:
    """The unit of an arm."""
    return f"{target}-{shots}-{draw}-{arm}"


def _source(bench: FewShot, task: str) -> dict[str, Any]:
    return bench.source(task)


def _arm(bench: FewShot, target: str, shots: int, draw: int, arm: str) -> dict[str, Any]:
    return bench.arm(target, shots, draw, arm)


def order(targets: Sequence[str]) -> Unit:
    """The unit that all others of these targets need."""
    return Unit(ORDER, ORDER, partial(_order, targets=targets))


def _order(bench: FewShot, targets: Sequence[str]) -> dict[str, Any]:
    return bench.order(targets)
