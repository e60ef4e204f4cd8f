"""Tasks for benchmarks: a folder of TASK.zip archives, ``PART/CLASS/IMAGE.png`` in each."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

Part = tuple[Tensor, Tensor, int]


def read_parts(folder: Path, task: str) -> dict[str, Part]:
    """``train`` and ``test``: images ``[N, C, H, W]`` uint8, labels ``[N]``, number of classes."""
    with zipfile.ZipFile(folder / f"{task}.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".png"))
        classes = sorted({name.split("/")[1] for name in names})
        opened = {name: Image.open(io.BytesIO(archive.read(name))) for name in names}
    mode = "L" if all(each.mode in ("1", "L") for each in opened.values()) else "RGB"
    return {
        part: _part([n for n in names if n.startswith(f"{part}/")], classes, opened, mode)
        for part in ("train", "test")
    }


def _part(names: list[str], classes: list[str], opened: dict[str, Image.Image], mode: str) -> Part:
    pixels = torch.from_numpy(np.stack([np.asarray(opened[n].convert(mode)) for n in names]))
    images = pixels[:, None] if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2).contiguous()
    labels = torch.tensor([classes.index(name.split("/")[1]) for name in names])
    return images, labels, len(classes)
