"""The sources: a supernet of one task, and supernets of several, by folds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from core.domain.searches import HeadInit
from core.nas import multi_dataset as shared
from core.nas import search
from core.nas.multi_dataset import MultiDatasetConfig, MultiDatasetState, Part
from core.nas.supernet import Supernet
from core.nas.warm_start import Source
from core.pipelines import bilevel
from core.pipelines.pretrain_multi_dataset import TRAIN_SHARE
from tests.benchmarks.transfer.settings import Bench
from tests.benchmarks.transfer.tasks import outside

RATE = 0.05  # as a pretrain job's
SEED = 0  # one supernet serves the targets of every seed


def alone(bench: Bench, task: str) -> dict[str, Any]:
    """Search on one task from scratch; what a user would have registered."""
    started = bench.clock()
    images, scale = bench.source_images(task), bench.scale
    train, valid = images.halves(SEED)
    training = replace(bench.spec(SEED).training, epochs=scale.source_epochs)
    config = bilevel.configure(training, RATE)
    state = bilevel.start(bench.space, train, valid, config, head=HeadInit.RANDOM)
    accuracies = [each.valid_accuracy for each in search.run(state, train, valid, config)]
    _save(bench, f"sources/{task}", state.supernet.state_dict())
    return {
        "tasks": [task],
        "seconds": bench.clock() - started,
        "valid": accuracies,
    }


def together(bench: Bench, fold: int) -> dict[str, Any]:
    """One supernet of all tasks outside that fold."""
    started = bench.clock()
    scale, names = bench.scale, outside(bench.domains, bench.scale.folds, fold)
    parts = [Part(*bench.source_images(name).split(TRAIN_SHARE, SEED)) for name in names]
    config = MultiDatasetConfig(
        epochs=scale.rounds,
        steps=scale.steps,
        paths=scale.paths,
        batch_size=scale.batch_size,
        learning_rate=RATE,
        learning_rate_min=1e-3,
        seed=SEED,
    )
    supernet = Supernet(bench.space, 1, bilevel.generator(SEED)).to(bench.device)
    state = MultiDatasetState(supernet, [part.train.classes for part in parts], seed=SEED)
    accuracies = [each.valid_accuracy for each in shared.run(state, parts, config)]
    _save(bench, f"shared/fold-{fold}", supernet.state_dict())
    return {
        "tasks": list(names),
        "seconds": bench.clock() - started,
        "valid": accuracies,
    }


def load(bench: Bench, unit: str, target: str) -> Source:
    """A source that has not seen the target. Raises ValueError if it has."""
    require_unseen(bench, unit, target)
    return Source(bench.space, load_file(bench.folder / f"{unit}.safetensors"))


def require_unseen(bench: Bench, unit: str, target: str) -> None:
    """Raises ValueError where the source was trained on the target: nothing would be honest."""
    if target in bench.result(unit)["tasks"]:
        raise ValueError(f"{unit}: was trained on {target}")


def _save(bench: Bench, unit: str, state: dict[str, Tensor]) -> None:
    trunk = {n: t.detach().cpu().contiguous() for n, t in state.items() if _kept(n)}
    with bench.writing(f"{unit}.safetensors") as path:
        save_file(trunk, path)


def _kept(name: str) -> bool:
    return not name.startswith("classifier.")
