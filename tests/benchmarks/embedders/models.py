"""Embedders to compare with the default: cruder ones, and trunks of supernets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torchvision.models import resnet18

from core.nas import search, warm_start
from core.nas.images import LabelledImages
from core.nas.normalisation import reestimate
from core.nas.search import SearchConfig, SearchState
from core.nas.space import Space
from core.nas.trunk_embedder import TrunkEmbedder
from core.ot.embedders import Embedder
from core.ot.image_batches import resize, scaled_batches
from core.ot.oriented_energy import OrientedEnergy
from core.ot.resnet_embedder import ResNet18
from tests.benchmarks.embedders.tasks import Task

SPACE = Space(channels=8, layers=4, nodes=4)
# Name: tasks, images of each, epochs. The two mixtures share no domain: together they give every
# task a trunk that has never seen its kind.
RECIPES: Mapping[str, tuple[tuple[str, ...], int, int]] = {
    "latin": (("latin_lower",), 900, 8),
    "mnist": (("mnist5k",), 1000, 6),
    "mix1": (
        ("latin_lower", "kanji", "arabic", "mnist5k", "icons_ui", "fashion", "flags_europe",
         "mri_template"), 250, 6,
    ),
    "mix2": (
        ("emoji_group", "emoji_hands", "sprites_creatures", "sprites_terrain", "texture_patches",
         "wallpaper_patches", "game_textures", "cards_rank"), 250, 6,
    ),
}  # fmt: skip
_GRID = 9  # cells that the default's energies are pooled over


class Pixels:
    """Grey values at 32 x 32."""

    name, version, identifier, dimension = "pixels", "1", "pixels@1", 1024

    def embed(self, images: Tensor, *, batch_size: int = 256) -> Tensor:
        """``[N, 1024]``."""
        batches = scaled_batches(images, batch_size, "cpu")
        return torch.cat([resize(b.mean(1, keepdim=True), 32).flatten(1) for b in batches])


class Gridless:
    """The default's features with energies pooled over the whole image instead of a grid."""

    name, version, identifier = "gridless", "1", "gridless@1"
    dimension = (OrientedEnergy.dimension - 7) // _GRID + 7

    def embed(self, images: Tensor, *, batch_size: int = 256) -> Tensor:
        """``[N, 19]``: features are roots of energies, so their squares add up."""
        whole = OrientedEnergy().embed(images, batch_size=batch_size)
        energies = whole[:, :-7].reshape(len(whole), -1, _GRID).square().sum(2)
        return torch.cat([energies.sqrt(), whole[:, -7:]], 1)


class Joined:
    """Features of several embedders side by side, each of unit mean length over all tasks.

    The scales are measured on the given images: a registry would have to fix them once.
    """

    def __init__(self, parts: Sequence[Embedder], images: Iterable[Tensor]) -> None:
        """Measure the scales."""
        some = [each[:40] for each in images]
        self._parts = parts
        self._scales = [torch.cat([p.embed(i) for i in some]).std(0).norm() for p in parts]
        self.name, self.version = "+".join(part.name for part in parts), "1"
        self.identifier = f"{self.name}@1"
        self.dimension = sum(part.dimension for part in parts)

    def embed(self, images: Tensor, *, batch_size: int = 256) -> Tensor:
        """``[N, D]``."""
        parts = zip(self._parts, self._scales, strict=True)
        return torch.cat([p.embed(images, batch_size=batch_size) / s for p, s in parts], 1)


def random_resnet(folder: Path) -> ResNet18:
    """What ResNet18 sees before it has learned anything."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = resnet18(weights=None).state_dict()
    path = folder / "random-resnet18.safetensors"
    save_file({key: value.contiguous() for key, value in state.items()}, path)
    return ResNet18(path)


def trunk(name: str, tasks: Sequence[Task], folder: Path) -> TrunkEmbedder:
    """The trunk of that recipe: from the folder, or trained now and put there."""
    path = folder / f"{name}.safetensors"
    if not path.exists():
        _train(name, tasks, path)
    state = load_file(path)
    mean, std = state.pop("mean"), state.pop("std")
    return TrunkEmbedder(state, space=SPACE, resolution=32, mean=mean, std=std, version=name)


def _train(name: str, tasks: Sequence[Task], path: Path) -> None:
    pooled, epochs = _pooled(name, tasks)
    train, valid = pooled.halves(0)
    generator = torch.Generator().manual_seed(0)
    supernet = warm_start.begin(
        SPACE, pooled.classes, train, valid, head="random", generator=generator, batch_size=64
    )
    config = SearchConfig(
        epochs=epochs,
        batch_size=64,
        learning_rate=0.05,
        learning_rate_min=1e-3,
        weight_decay=3e-4,
        alpha_learning_rate=3e-3,
        seed=0,
    )
    for record in search.run(SearchState(supernet), train, valid, config):
        print(f"  {name}: epoch {record.epoch}, accuracy {record.valid_accuracy:.2f}", flush=True)
    reestimate(supernet, train.batches(64))
    state = {key: value.contiguous() for key, value in supernet.state_dict().items()}
    save_file({**state, "mean": pooled.mean, "std": pooled.std}, path)


def _pooled(name: str, tasks: Sequence[Task]) -> tuple[LabelledImages, int]:
    """The images of a recipe, classes of different tasks kept apart, and its epochs."""
    chosen, count, epochs = RECIPES[name]
    images, labels, classes = [], [], 0
    for task in (each for each in tasks if each.name in chosen):
        images.append(task.images[:count].expand(-1, 3, -1, -1))
        labels.append(task.labels[:count] + classes)
        classes += len(task.classes)
    return LabelledImages.measured(torch.cat(images), torch.cat(labels), classes), epochs
