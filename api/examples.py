"""Images of a dataset: a strip per class, drawn once and kept on disk, and single ones."""

import io
import os
import shutil
import tempfile
import threading
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from core.data import packed_rows, packing, places
from core.data.images import Pixels
from core.data.prepared import DEFAULT_RESOLUTION
from core.domain import keys
from core.domain.datasets import Dataset, ImagePlace
from core.errors import NotFound
from core.execution import caches
from core.ports import ObjectStore
from core.services import datasets

Split = Literal["train", "test"]

VERSION = 1
EXAMPLES = 8
GAP = 2

_drawing = threading.Lock()


def strip(store: ObjectStore, dataset: Dataset, class_index: int, *, home: Path) -> bytes:
    """A PNG of up to eight train images of one class."""
    datasets.check_images(dataset)
    if not 0 <= class_index < len(dataset.classes):
        last = len(dataset.classes) - 1
        raise NotFound(f"This dataset has classes 0 to {last}.", code="unknown_class")
    folder = caches.examples(home) / f"{dataset.sha256}-{VERSION}"
    if not folder.exists():
        with _drawing:  # a page asks for every class at once: fetch the images for the first
            if not folder.exists():
                _draw_all(store, dataset, folder)
    return (folder / f"{class_index}.png").read_bytes()


def image(store: ObjectStore, dataset: Dataset, place: ImagePlace) -> bytes:
    """A PNG of one image."""
    datasets.check_images(dataset)
    row = places.row(dataset, place)
    try:
        packed = store.open(keys.packed(dataset.project_id, dataset.sha256, DEFAULT_RESOLUTION))
    except NotFound as error:
        raise NotFound("The images of this dataset are not here.", code="unknown_image") from error
    with packed:
        pixels = packed_rows.read_image(packed, row)
    buffer = io.BytesIO()
    _tile(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _draw_all(store: ObjectStore, dataset: Dataset, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        packed = Path(scratch) / "packed.safetensors"
        key = keys.packed(dataset.project_id, dataset.sha256, DEFAULT_RESOLUTION)
        with store.open(key) as source, packed.open("wb") as target:
            shutil.copyfileobj(source, target)
        drawn = Path(scratch) / "strips"
        drawn.mkdir()
        for index in range(len(dataset.classes)):
            _compose(packing.examples(packed, index, EXAMPLES)).save(drawn / f"{index}.png")
        os.replace(drawn, folder)  # whole or not at all


def _compose(images: Pixels) -> Image.Image:
    """The images `[k, c, h, w]` side by side on a transparent ground."""
    _, _, height, width = images.shape
    strip = Image.new("RGBA", (EXAMPLES * (width + GAP) - GAP, height))
    for index, pixels in enumerate(images):
        strip.paste(_tile(pixels).convert("RGBA"), (index * (width + GAP), 0))
    return strip


def _tile(pixels: Pixels) -> Image.Image:
    """One image `[c, h, w]`."""
    planes = np.moveaxis(pixels, 0, -1)
    return Image.fromarray(planes[..., 0] if planes.shape[-1] == 1 else planes)
