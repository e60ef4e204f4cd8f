"""The tasks of a suite, as they are and disturbed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from core.ot.image_batches import resize
from tests.benchmarks.suite import domains, read_parts

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
    return [_read_task(folder, name, domain, count) for name, domain in domains(folder).items()]


def _read_task(folder: Path, name: str, domain: str, count: int) -> Task:
    images, labels, classes = read_parts(folder, name, ("train",))["train"]
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:count]
    return Task(name, domain, images[order], labels[order], classes)


def perturbed(tasks: Sequence[Task]) -> list[Task]:
    """The same tasks, half of them inverted, a third at 16 pixels."""
    return [_perturb(task, position) for position, task in enumerate(tasks)]


def _perturb(task: Task, position: int) -> Task:
    images = 255 - task.images if position % 2 == 0 else task.images
    if position % 3 == 0:
        images = resize(images.float(), 16).round().clamp(0, 255).to(torch.uint8)
    return replace(task, images=images)
