"""Tasks for benchmarks: a folder of TASK.zip archives, ``PART/CLASS/IMAGE`` in each."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from core.nas.images import LabelledImages, epoch_generator
from core.ot.image_batches import resize

PARTS = ("train", "test")


class Part(NamedTuple):
    """Images ``[N, C, H, W]`` uint8, labels ``[N]``, and the names of the task's classes."""

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]


def task_names(folder: Path) -> tuple[str, ...]:
    """The tasks of a suite, by name. Raises FileNotFoundError where there are none."""
    found = tuple(sorted(path.stem for path in folder.glob("*.zip")))
    if not found:
        raise FileNotFoundError(f"{folder}: no TASK.zip in this folder")
    return found


def domains(folder: Path) -> dict[str, str]:
    """What kind of images each task has, where ``suite.json`` says it; else its own name."""
    found = {name: name for name in task_names(folder)}
    listed = folder / "suite.json"
    if listed.exists():
        named = {each["task"]: each["domain"] for each in json.loads(listed.read_text())}
        found |= {name: domain for name, domain in named.items() if name in found}
    return found


def read_parts(folder: Path, task: str, parts: Sequence[str] = PARTS) -> dict[str, Part]:
    """The parts asked for; classes are theirs, and grey only where all their images are."""
    with zipfile.ZipFile(folder / f"{task}.zip") as archive:
        names = sorted(n for n in archive.namelist() if _is_image(n) and n.split("/")[0] in parts)
        classes = tuple(sorted({name.split("/")[1] for name in names}))
        opened = {name: Image.open(io.BytesIO(archive.read(name))) for name in names}
    mode = "L" if all(each.mode in ("1", "L") for each in opened.values()) else "RGB"
    return {
        part: _part([n for n in names if n.startswith(f"{part}/")], classes, opened, mode)
        for part in parts
    }


def read_labelled(
    folder: Path, task: str, *, side: int, train: int, test: int, seed: int
) -> tuple[LabelledImages, LabelledImages]:
    """At most so many train and test images at `side` pixels; which ones, the seed decides.

    Both are normalised by the statistics of the train images.
    """
    parts = read_parts(folder, task)
    found = []
    for part, count in zip(PARTS, (train, test), strict=True):
        images, labels, classes = parts[part]
        order = torch.randperm(len(images), generator=epoch_generator(seed, 0))[:count]
        small = resize(images[order].float(), side).round().clamp(0, 255).to(torch.uint8)
        found.append((small, labels[order], len(classes)))
    (images, labels, count), (tested, answers, _) = found
    measured = LabelledImages.measured(images, labels, count)
    return measured, LabelledImages(tested, answers, count, measured.mean, measured.std)


def _is_image(name: str) -> bool:
    return name.count("/") == 2 and not name.endswith("/")


def _part(
    names: list[str], classes: tuple[str, ...], opened: Mapping[str, Image.Image], mode: str
) -> Part:
    pixels = torch.from_numpy(np.stack([np.asarray(opened[n].convert(mode)) for n in names]))
    images = pixels[:, None] if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2).contiguous()
    labels = torch.tensor([classes.index(name.split("/")[1]) for name in names])
    return Part(images, labels, classes)
