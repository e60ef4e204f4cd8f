"""Small datasets of drawn shapes: a class per shape, noise and place by seed."""

import io
import random
import zipfile
from pathlib import Path

from PIL import Image, ImageDraw

SHAPES = ("bar", "box", "ring")


def archive(path: Path, *, images: int, seed: int, size: int = 16) -> Path:
    """A zip with one folder per shape."""
    dice = random.Random(seed)
    with zipfile.ZipFile(path, "w") as packed:
        for shape in SHAPES:
            for number in range(images):
                packed.writestr(f"{shape}/{number}.png", _drawn(shape, dice, size))
    return path


def unpacked(folder: Path, *, images: int, seed: int) -> Path:
    """The same in folders."""
    with zipfile.ZipFile(archive(folder.with_suffix(".zip"), images=images, seed=seed)) as packed:
        for name in packed.namelist():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(packed.read(name))
    return folder


def _drawn(shape: str, dice: random.Random, size: int) -> bytes:
    image = Image.new("L", (size, size), dice.randrange(30))
    pen = ImageDraw.Draw(image)
    x, y, ink = dice.randint(1, 5), dice.randint(1, 5), 180 + dice.randrange(70)
    corner = (x, y, x + 8, y + 8)
    if shape == "ring":
        pen.ellipse(corner, outline=ink, width=2)
    elif shape == "box":
        pen.rectangle(corner, outline=ink, width=2)
    else:
        pen.line((x + 4, y, x + 4, y + 9), fill=ink, width=2)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
