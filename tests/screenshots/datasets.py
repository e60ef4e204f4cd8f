"""Datasets to look at: some that lie apart on a map, and one with something wrong of each kind."""

from pathlib import Path

from PIL import Image, ImageOps

from tests.e2e import shapes


def turned(folder: Path, *, turn: int) -> Path:
    """Shapes that are turned, thickened or inverted, the more so the larger `turn`."""
    shapes.unpacked(folder, images=10 + turn, seed=40 + turn)
    for path in folder.rglob("*.png"):
        image = Image.open(path).convert("L").rotate(11 * turn, fillcolor=15)
        image = image.resize((8 + 4 * turn,) * 2).resize((16, 16))
        (ImageOps.invert(image) if turn % 3 == 0 else image).save(path)
    return folder


def doubtful(folder: Path) -> Path:
    """Twins across classes and splits, copies, a picture in two classes, a torn file."""
    folder.mkdir()
    for split, images, seed in (("train", 16, 60), ("test", 4, 61)):
        shapes.unpacked(folder / split, images=images, seed=seed)
        (folder / f"{split}.zip").unlink()
    train, test = folder / "train", folder / "test"
    for old, new in (
        (train / "ring/3.png", train / "box/wrong.png"),
        (train / "bar/1.png", train / "box/also-wrong.png"),
        (train / "box/5.png", test / "box/near.png"),
        (train / "bar/4.png", train / "bar/once-more.png"),
    ):
        Image.open(old).point(lambda value: min(255, value + 2)).save(new)
    for old, new in (
        (train / "ring/7.png", train / "ring/twice.png"),
        (train / "bar/8.png", test / "bar/leak.png"),
        (train / "bar/9.png", train / "ring/both.png"),
    ):
        new.write_bytes(old.read_bytes())
    (train / "ring" / "torn.png").write_bytes(b"no image")
    return folder
