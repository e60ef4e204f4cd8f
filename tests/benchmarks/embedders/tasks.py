"""The tasks of a suite, as they are and disturbed."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from core.ot.image_batches import resize

EVERYTHING = 10**9


@dataclass(frozen=True)
class Task:
    """Some labelled images; `images` is ``[N, C, H, W]`` uint8."""

    name: str
    domain: str
    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]


def read_suite(folder: Path, count: int = EVERYTHING) -> list[Task]:
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
