"""How fast archives are taken in, beside torchvision's ImageFolder in the same minutes.

Both decode every image and scale it to 32 x 32, with as many processes as there are cores. Intake
reads an archive, as it was uploaded, and does all that it does: it checks every byte, hashes files
and pixels, looks for twins, splits, and writes the two files of a dataset. The loader reads a
folder that somebody has unpacked, and keeps nothing.
"""

from __future__ import annotations

import io
import os
import resource
import statistics
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from core.config import UploadLimits
from core.data import intake

RESOLUTION, CLASSES, BATCH = 32, 10, 128
KINDS = {"small": 50_000, "photographs": 5_000}  # the bar's numbers of images


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one pass over all images, by the clock and of all processes' work."""

    wall: float
    cpu: float


def folder_of(kind: str, count: int, root: Path) -> Path:
    """A folder of images in class folders."""
    drawn = _small(count) if kind == "small" else _photographs(count)
    for index, (suffix, data) in enumerate(drawn):
        path = root / f"class{index % CLASSES}" / f"{index:06}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def _small(count: int) -> Iterator[tuple[str, bytes]]:
    """32 x 32 colour PNGs, parts of photographs."""
    scenes = [Image.fromarray(each) for each in load_sample_images().images]
    dice = np.random.default_rng(0)
    for _ in range(count):
        yield "png", _saved(_part(scenes, dice, 128).resize((32, 32)), "PNG")


def _photographs(count: int) -> Iterator[tuple[str, bytes]]:
    """JPEGs of 500 to 800 pixels a side, parts of two photographs, turned, with some grain."""
    scenes = [Image.fromarray(each) for each in load_sample_images().images]
    dice = np.random.default_rng(1)
    for _ in range(count):
        side = int(dice.integers(500, 801))
        part = np.asarray(_part(scenes, dice, 360).resize((side, side)), np.int16)
        grain = dice.integers(-6, 7, part.shape, dtype=np.int16)
        picture = Image.fromarray(np.clip(part + grain, 0, 255).astype(np.uint8))
        yield "jpg", _saved(picture, "JPEG", quality=88)


def _part(scenes: list[Image.Image], dice: np.random.Generator, side: int) -> Image.Image:
    scene = scenes[dice.integers(len(scenes))].rotate(int(dice.integers(4)) * 90, expand=True)
    left = int(dice.integers(scene.width - side + 1))
    upper = int(dice.integers(scene.height - side + 1))
    return scene.crop((left, upper, left + side, upper + side))


def _saved(image: Image.Image, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def archive_of(folder: Path, path: Path) -> Path:
    """The folder as people zip it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for each in sorted(folder.rglob("*.*")):
            file.write(each, each.relative_to(folder))
    return path


def ours(archive: Path, workers: int) -> Timing:
    """Intake of the archive, whole."""
    limits = UploadLimits(workers=workers, entries=200_000)
    with tempfile.TemporaryDirectory() as folder, _timed() as timing:
        intake.prepare(archive, Path(folder) / "out", limits, resolution=RESOLUTION)
    return timing[0]


def theirs(folder: Path, workers: int) -> Timing:
    """One epoch of a loader over the folder."""
    transform = v2.Compose(
        [
            v2.Resize((RESOLUTION, RESOLUTION), antialias=True),
            v2.PILToTensor(),
        ]
    )
    with _timed() as timing:
        images = ImageFolder(str(folder), transform)
        for _ in DataLoader(images, batch_size=BATCH, num_workers=workers):
            pass
    return timing[0]


@contextmanager
def _timed() -> Iterator[list[Timing]]:
    """A list that has the block's timing when it ends."""
    found: list[Timing] = []
    wall, cpu = time.perf_counter(), _cpu()
    yield found
    found.append(Timing(time.perf_counter() - wall, _cpu() - cpu))


def _cpu() -> float:
    """Of this process and of its children that have ended."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def compared(kind: str, *, scale: float, repeats: int) -> dict[str, float | str | int]:
    """In turns, each `repeats` times; the ratio is of the medians, its range of the pairs."""
    count, workers = max(200, round(KINDS[kind] * scale)), len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="bench-intake-") as scratch:
        folder = folder_of(kind, count, Path(scratch) / "folder")
        archive = archive_of(folder, Path(scratch) / "images.zip")
        pairs = [(ours(archive, workers), theirs(folder, workers)) for _ in range(repeats)]
    walls = [(one.wall, other.wall) for one, other in pairs]
    middle = [statistics.median(each) for each in zip(*walls, strict=True)]
    ratios = sorted(other / one for one, other in walls)
    cpus = [statistics.median(each[side].cpu for each in pairs) for side in (0, 1)]
    return {
        "images": f"{count:,} {kind}",
        "seconds": round(middle[0], 2),
        "images/s": round(count / middle[0]),
        "loader's seconds": round(middle[1], 2),
        "times as fast": round(middle[1] / middle[0], 2),
        "range": f"{ratios[0]:.2f} to {ratios[-1]:.2f}",
        "CPU seconds": round(cpus[0], 2),
        "loader's CPU": round(cpus[1], 2),
    }
