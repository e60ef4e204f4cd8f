"""Which embedder puts tasks of one domain next to each other.

Run from the project root::

    python -m tests.benchmarks.bench_embedders SUITE [--trunks FOLDER] [--otdd] [--only NAME ...]

SUITE is a folder of TASK.zip archives (train/CLASS/IMAGE.png) and a suite.json that names the
``task`` and the ``domain`` of each. For every task that has another of its domain: is one of that
domain the nearest (top-1), or among the three nearest (top-3)? Distances are between class
Gaussians, and with ``--otdd`` also the full distance of 256 samples. "Perturbed": every other task
inverted, every third at 16 pixels. ``--trunks`` adds trunks of supernets, trained first unless
they lie in FOLDER (some 25 minutes of one core). ``--resnet18 FILE`` adds its ImageNet weights.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from torchvision.models import resnet18

from core.nas import search, warm_start
from core.nas.images import LabelledImages
from core.nas.normalisation import reestimate
from core.nas.search import SearchConfig, SearchState
from core.nas.space import Space
from core.nas.trunk_embedder import TrunkEmbedder
from core.ot.dataset_distance import OTDDConfig, class_distance, otdd
from core.ot.embedded_dataset import EmbeddedDataset, build
from core.ot.embedders import Embedder
from core.ot.image_batches import resize, scaled_batches
from core.ot.oriented_energy import OrientedEnergy
from core.ot.resnet_embedder import ResNet18

IMAGES = 300  # of each task
SAMPLES = 256
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
Measure = Callable[[EmbeddedDataset, EmbeddedDataset], float]


@dataclass(frozen=True)
class Task:
    """Some labelled images; `images` is ``[N, C, H, W]`` uint8."""

    name: str
    domain: str
    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]


class Pixels:
    """Grey values at 32 x 32."""

    name, version, identifier, dimension = "pixels", "1", "pixels@1", 1024

    def embed(self, images: Tensor, *, batch_size: int = 256) -> Tensor:
        """``[N, 1024]``."""
        batches = scaled_batches(images, batch_size, "cpu")
        return torch.cat([resize(b.mean(1, keepdim=True), 32).flatten(1) for b in batches])


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


def read_suite(folder: Path, count: int) -> list[Task]:
    """At most `count` train images of each task, in a fixed random order."""
    entries = json.loads((folder / "suite.json").read_text())
    return [_read_task(folder, each["task"], each["domain"], count) for each in entries]


def _read_task(folder: Path, name: str, domain: str, count: int) -> Task:
    with zipfile.ZipFile(folder / f"{name}.zip") as archive:
        paths = sorted(p for p in archive.namelist() if p.startswith("train/") and p[-1] != "/")
        classes = sorted({path.split("/")[1] for path in paths})
        order = torch.randperm(len(paths), generator=torch.Generator().manual_seed(0))
        paths = [paths[at] for at in order[:count]]
        opened = [Image.open(io.BytesIO(archive.read(path))) for path in paths]
    mode = "L" if all(each.mode in ("1", "L") for each in opened) else "RGB"
    pixels = torch.from_numpy(np.stack([np.asarray(each.convert(mode)) for each in opened]))
    images = pixels[:, None] if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2).contiguous()
    labels = torch.tensor([classes.index(path.split("/")[1]) for path in paths])
    return Task(name, domain, images, labels, tuple(classes))


def perturbed(tasks: Sequence[Task]) -> list[Task]:
    """The same tasks, half of them inverted, a third at 16 pixels."""
    return [_perturb(task, position) for position, task in enumerate(tasks)]


def _perturb(task: Task, position: int) -> Task:
    images = 255 - task.images if position % 2 == 0 else task.images
    if position % 3 == 0:
        images = resize(images.float(), 16).round().clamp(0, 255).to(torch.uint8)
    return replace(task, images=images)


def trunk(name: str, tasks: Sequence[Task], folder: Path) -> TrunkEmbedder:
    """The trunk of that recipe: from the folder, or trained now and put there."""
    path = folder / f"{name}.safetensors"
    if not path.exists():
        _train(name, tasks, path)
    state = load_file(path)
    mean, std = state.pop("mean"), state.pop("std")
    return TrunkEmbedder(state, space=SPACE, resolution=32, mean=mean, std=std, version=name)


def _train(name: str, tasks: Sequence[Task], path: Path) -> None:
    chosen, count, epochs = RECIPES[name]
    images, labels, classes = [], [], 0
    for task in (each for each in tasks if each.name in chosen):
        images.append(task.images[:count].expand(-1, 3, -1, -1))
        labels.append(task.labels[:count] + classes)
        classes += len(task.classes)
    pooled = LabelledImages.measured(torch.cat(images), torch.cat(labels), classes)
    train, valid = pooled.halves(0)
    generator = torch.Generator().manual_seed(0)
    supernet = warm_start.begin(
        SPACE, classes, train, valid, head="random", generator=generator, batch_size=64
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


def random_resnet(folder: Path) -> ResNet18:
    """What ResNet18 sees before it has learned anything."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = resnet18(weights=None).state_dict()
    path = folder / "random-resnet18.safetensors"
    save_file({key: value.contiguous() for key, value in state.items()}, path)
    return ResNet18(path)


def embed_all(model: Embedder, tasks: Sequence[Task]) -> tuple[list[EmbeddedDataset], float]:
    """Every task, and CPU seconds for 1,000 images."""
    seconds, found = 0.0, []
    for task in tasks:
        began = time.process_time()
        features = model.embed(task.images)
        seconds += time.process_time() - began
        found.append(build(features, task.labels, task.classes, embedder=model.identifier))
    return found, 1000 * seconds / sum(len(task.images) for task in tasks)


def distances(embedded: Sequence[EmbeddedDataset], measure: Measure) -> Tensor:
    """``[T, T]``, symmetric, infinite on the diagonal."""
    table = torch.full((len(embedded), len(embedded)), torch.inf)
    for row, first in enumerate(embedded):
        for column in range(row):
            table[row, column] = table[column, row] = measure(first, embedded[column])
    return table


def places(table: Tensor, tasks: Sequence[Task]) -> dict[str, tuple[int, str]]:
    """By task that has kin: at which place the first of its kin is, and the nearest's domain."""
    found = {}
    for row, task in enumerate(tasks):
        order = [tasks[at].domain for at in table[row].argsort().tolist()[:-1]]
        if task.domain in order:
            found[task.name] = (order.index(task.domain) + 1, order[0])
    return found


def share(found: Mapping[str, tuple[int, str]], k: int, names: Iterable[str] = ()) -> float:
    """How many of the tasks (all, unless named) have kin among the k nearest."""
    chosen = list(names) or list(found)
    return sum(found[name][0] <= k for name in chosen) / max(len(chosen), 1)


def unseen(name: str, tasks: Sequence[Task], found: Mapping[str, object]) -> list[str]:
    """Tasks of domains that this trunk was not trained on; all of them for other embedders."""
    trained = {task.domain for task in tasks if task.name in RECIPES.get(name, ((),))[0]}
    return [task.name for task in tasks if task.name in found and task.domain not in trained]


def _score(found: Mapping[str, tuple[int, str]], names: Sequence[str]) -> str:
    if not names:
        return "-"
    return f"{share(found, 1, names):.2f} / {share(found, 3, names):.2f}"


def report(
    name: str,
    dimension: int,
    seconds: float,
    tables: Mapping[str, Mapping[str, tuple[int, str]]],
    tasks: Sequence[Task],
) -> None:
    """One row of the table, and where the nearest tasks of each domain lie."""
    plain = tables["plain"]
    fresh = unseen(name, tasks, plain)
    crowd = Counter(task.domain for task in tasks).most_common(1)[0][0]
    few = [task.name for task in tasks if task.name in fresh and task.domain != crowd]
    cells = [_score(plain, fresh), _score(plain, few), _score(tables["perturbed"], fresh)]
    cells.append(_score(tables["otdd"], fresh) if "otdd" in tables else "-")
    cells.append(str(len(fresh)))
    print(f"| {name} | {dimension} | {seconds:.2f} | {' | '.join(cells)} |", flush=True)
    nearest: dict[str, Counter[str]] = {}
    for task in (each for each in tasks if each.name in fresh):
        nearest.setdefault(task.domain, Counter())[plain[task.name][1]] += 1
    for domain, counts in sorted(nearest.items()):
        listed = ", ".join(f"{other} {count}" for other, count in counts.most_common())
        print(f"    {domain}: {listed}", flush=True)


def evaluate(name: str, model: Embedder, tasks: Sequence[Task], *, with_otdd: bool) -> None:
    """Embed everything twice, compare all pairs, and report."""
    embedded, seconds = embed_all(model, tasks)
    changed, _ = embed_all(model, perturbed(tasks))
    tables = {
        "plain": places(distances(embedded, class_distance), tasks),
        "perturbed": places(distances(changed, class_distance), tasks),
    }
    if with_otdd:
        config = OTDDConfig(samples=SAMPLES)
        table = distances(embedded, lambda a, b: otdd(a, b, config).distance)
        tables["otdd"] = places(table, tasks)
    report(name, model.dimension, seconds, tables, tasks)


def candidates(
    arguments: argparse.Namespace, tasks: Sequence[Task], scratch: Path
) -> Mapping[str, Callable[[], Embedder]]:
    """How to make each embedder, by the name of its row."""
    images = [task.images for task in tasks]
    makers: dict[str, Callable[[], Embedder]] = {
        "pixels": Pixels,
        "oriented-energy": OrientedEnergy,
        "random-resnet18": lambda: random_resnet(scratch),
    }
    if arguments.resnet18:
        makers["resnet18"] = lambda: ResNet18(arguments.resnet18)
    if arguments.trunks:
        arguments.trunks.mkdir(parents=True, exist_ok=True)
        whole = read_suite(arguments.suite, 10**9)
        for name in RECIPES:
            makers[name] = lambda name=name: trunk(name, whole, arguments.trunks)
            makers[f"oriented-energy+{name}"] = lambda name=name: Joined(
                (OrientedEnergy(), trunk(name, whole, arguments.trunks)), images
            )
    return makers


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("suite", type=Path, nargs="?")
    parser.add_argument("--trunks", type=Path)
    parser.add_argument("--resnet18", type=Path)
    parser.add_argument("--otdd", action="store_true")
    parser.add_argument("--only", nargs="*", default=[])
    arguments = parser.parse_args()
    if arguments.suite is None:  # `make bench` has no suite to give
        print("skipped: it needs the folder of a suite (see the module's docstring)")
        return
    torch.set_num_threads(1)
    tasks = read_suite(arguments.suite, IMAGES)
    print(
        "| embedder | features | CPU s / 1,000 | top-1 / top-3 | but the largest domain "
        "| perturbed | OTDD | tasks of unseen domains |\n|---|---|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as scratch:
        for name, make in candidates(arguments, tasks, Path(scratch)).items():
            if not arguments.only or name in arguments.only:
                evaluate(name, make(), tasks, with_otdd=arguments.otdd)


if __name__ == "__main__":
    main()
