"""Small suites of made-up tasks, written as archives."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def write_task(folder: Path, name: str, *, colour: bool = False, each: int = 2) -> None:
    """Two classes, so many images of each in train and one in test; class b is brighter."""
    with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
        archive.writestr("meta.json", "{}")
        for part, count in (("train", each), ("test", 1)):
            for bright, label in ((10, "a"), (200, "b")):
                for place in range(count):
                    shape = (4, 4, 3) if colour else (4, 4)
                    pixels = np.full(shape, bright + place, dtype=np.uint8)
                    kept = io.BytesIO()
                    Image.fromarray(pixels).save(kept, "PNG")
                    archive.writestr(f"{part}/{label}/{place}.png", kept.getvalue())


def write_suite(
    folder: Path, names: Sequence[str], domains: Mapping[str, str] | None = None
) -> Path:
    """A folder of such tasks, with a list of their domains where they are given."""
    for name in names:
        write_task(folder, name)
    if domains is not None:
        listed = [{"task": name, "domain": domain} for name, domain in domains.items()]
        (folder / "suite.json").write_text(json.dumps(listed))
    return folder
