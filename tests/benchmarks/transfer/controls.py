"""What a search must beat: as many seconds of training alone, and a fine-tuned ResNet18."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import resnet18

from core.domain.searches import RATE
from core.nas.classifier import ImageClassifier
from core.nas.evaluate import evaluate
from core.nas.genotype import Genotype
from core.nas.loop import TrainingConfig, TrainingState, run_epochs
from core.nas.network import Network, parameter_count
from core.nas.retrain import RetrainState
from core.pipelines import bilevel, derivation
from tests.benchmarks.bench_robust import random_cells
from tests.benchmarks.transfer import arms
from tests.benchmarks.transfer.settings import Bench

_EPOCHS = 1000  # more than any budget pays for
_SIDE = 64  # of the images that the ResNet18 sees
_RESNET_RATE = 0.01
_FEATURES = 512


def random_cell(bench: Bench, name: str, seed: int, cold_unit: str) -> dict[str, Any]:
    """A random cell as large as the cold start's, from scratch, for all that arm's seconds."""
    on = arms.target(bench, name, seed)
    cold = bench.result(cold_unit)
    like = Genotype.from_json(cold["genotype"])
    (genotype,) = random_cells(bench.space, on.images.classes, like, seed, count=1)
    network = Network(bench.space, genotype, on.images.classes, bilevel.generator(seed))
    config = replace(
        derivation.configure(bench.spec(seed)),
        epochs=_EPOCHS,
        learning_rate=RATE,
        budget_seconds=sum(cold["seconds"].values()),
    )
    state = RetrainState(network.to(bench.device), config)
    curve = arms.retrained(bench, on, state, config, 0.0)
    return {
        "genotype": genotype.to_json(),
        "parameters": parameter_count(network),
        "retrain": curve,
        "retrained": arms.final(state.result(), on, bench.scale.batch_size),
        "seconds": {"retrain": curve["seconds"][-1]},
    }


class FineTuned(ImageClassifier):
    """Torchvision's ResNet18 (He et al. 2016) with given weights and a new classifier."""

    def __init__(self, weights: Path, classes: int, generator: torch.Generator) -> None:
        super().__init__(_FEATURES, classes, generator)
        whole = resnet18(weights=None)
        whole.load_state_dict(load_file(weights))
        self._layers = nn.Sequential(*list(whole.children())[:-2])

    def trunk(self, images: Tensor) -> Tensor:
        """``[N, 3, H, W]`` normalised images, brought to 64 pixels, to ``[N, 512, h, w]``."""
        large = F.interpolate(images, size=(_SIDE, _SIDE), mode="bilinear", antialias=True)
        maps: Tensor = self._layers(large)
        return maps


def fine_tuned(bench: Bench, name: str, seed: int) -> dict[str, Any]:
    """All layers trained on, for as many epochs as a retraining has."""
    if bench.resnet18 is None:
        raise ValueError("resnet18: its weights were not given")
    on = arms.target(bench, name, seed)
    model = FineTuned(bench.resnet18, on.images.classes, bilevel.generator(seed))
    model.to(bench.device)
    train, valid = on.images.split(derivation.RETRAIN_SHARE, seed)
    config = TrainingConfig(
        epochs=bench.scale.retrain_epochs,
        batch_size=bench.scale.batch_size,
        learning_rate=_RESNET_RATE,
        learning_rate_min=0.0,
        seed=seed,
    )
    state, spent = TrainingState(model, list(model.parameters())), 0.0
    curve, tests = arms.Curve([], [], []), []
    for record, seconds in arms.timed(run_epochs(state, train, valid, config), bench.clock):
        spent += seconds
        curve.epochs.append(record.index)
        curve.seconds.append(spent)
        curve.valid.append(record.valid.accuracy)
        tests.append(evaluate(model, on.test, 64).accuracy)
    return {
        "parameters": parameter_count(model),
        "retrain": curve.to_dict() | {"test": tests},
        "retrained": arms.final(model, on, bench.scale.batch_size),
        "seconds": {"retrain": spent},
    }
