"""Archives as people make them, of whatever pictures there are: three stacks, a class each."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

import numpy as np
import pyarrow as pa
from PIL import Image

from tests.unit.data.builders import Entry, Files, raw_zip, tar_bytes, zip_bytes

LABELS = ("cat", "dog", "owl")
SUFFIXES = ("PNG", "Png", "JPG", "Jpg", "JPEG", "jpeg", "WebP", "BMP", "bmp", "GIF")


class Deck:
    """Three stacks of pictures, as PNG; none is dealt twice."""

    def __init__(self, stacks: Sequence[Iterable[bytes]]) -> None:
        self._stacks = [iter(stack) for stack in stacks]

    def take(self, stack: int, count: int) -> list[bytes]:
        """The next pictures of a stack. Raises ValueError when it has not as many."""
        taken = list(islice(self._stacks[stack], count))
        if len(taken) < count:
            raise ValueError(f"stack {stack} has no {count} pictures left")
        return taken

    def folders(
        self,
        pattern: str = "{label}/{n:03}.png",
        count: int = 10,
        labels: Sequence[str] = LABELS,
    ) -> dict[str, bytes]:
        """Files so named, `count` of each class."""
        return {
            pattern.format(label=label, n=n): data
            for stack, label in enumerate(labels)
            for n, data in enumerate(self.take(stack, count))
        }


def saved(picture: bytes, kind: str, mode: str = "RGB", **options: object) -> bytes:
    """The picture in another format or mode."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(picture)).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def _deep(picture: bytes) -> bytes:
    grey = np.asarray(Image.open(io.BytesIO(picture)).convert("L"), np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(grey * 257).save(buffer, "PNG")
    return buffer.getvalue()


def _clear(picture: bytes) -> bytes:
    image = Image.open(io.BytesIO(picture)).convert("RGBA")
    image.putpixel((0, 0), (0, 0, 0, 0))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _moving(picture: bytes) -> bytes:
    other = Image.new("P", Image.open(io.BytesIO(picture)).size, 3)
    return saved(picture, "GIF", save_all=True, append_images=[other])


def _turned(picture: bytes) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(picture, "JPEG", exif=exif, quality=95)


MODES: tuple[tuple[str, Callable[[bytes], bytes]], ...] = (
    ("grey.png", lambda p: saved(p, "PNG", "L")),
    ("alpha.png", _clear),
    ("print.jpg", lambda p: saved(p, "JPEG", "CMYK", quality=95)),
    ("deep.png", _deep),
    ("palette.png", lambda p: saved(p, "PNG", "P")),
    ("moving.gif", _moving),
    ("web.webp", lambda p: saved(p, "WEBP", lossless=True)),
    ("bitmap.bmp", lambda p: saved(p, "BMP")),
    ("turned.jpg", _turned),
    ("greyalpha.png", lambda p: saved(p, "PNG", "LA")),
)


def each_otherwise(deck: Deck, ways: Sequence[tuple[str, Callable[[bytes], bytes]]]) -> Files:
    return {
        f"{label}/{name}": way(picture)
        for stack, label in enumerate(LABELS)
        for (name, way), picture in zip(ways, deck.take(stack, len(ways)), strict=True)
    }


def suffixes(deck: Deck) -> bytes:
    kinds = {"jpg": "JPEG", "jpeg": "JPEG", "webp": "WEBP", "bmp": "BMP", "gif": "GIF"}

    def way(suffix: str) -> Callable[[bytes], bytes]:
        return lambda picture: saved(picture, kinds.get(suffix.lower(), "PNG"))

    ways = [(f"{n}.{suffix}", way(suffix)) for n, suffix in enumerate(SUFFIXES)]
    return zip_bytes(each_otherwise(deck, ways))


def spelled(files: Files, encode: Callable[[str], bytes]) -> bytes:
    """A zip whose names are these bytes, by a program that knows no flag for them."""
    return raw_zip([Entry(encode(name), data) for name, data in files.items()])


def table(deck: Deck, header: str, line: str, encoding: str, labels: Sequence[str]) -> bytes:
    files = deck.folders("images/{label}-{n}.png", labels=[str(n) for n in range(len(labels))])
    rows = [
        line.format(name=name, label=labels[int(name.split("/")[1].split("-")[0])])
        for name in files
    ]
    return zip_bytes({**files, "metadata.csv": "\r\n".join([header, *rows]).encode(encoding)})


def junk(deck: Deck) -> bytes:
    files = deck.folders("pets/{label}/{n}.png")
    left = {
        "__MACOSX/pets/cat/._0.png": b"\0\5\x16\7",
        "pets/.DS_Store": b"\0\0\0\1Bud1",
        "pets/cat/Thumbs.db": b"\xd0\xcf\x11\xe0",
        "pets/.ipynb_checkpoints/0-checkpoint.png": next(iter(files.values())),
        ".git/HEAD": b"ref: refs/heads/main\n",
    }
    return zip_bytes({**files, **left})


def pax(deck: Deck) -> bytes:
    files = deck.folders("{label}/" + "ж" * 100 + "{n}.png")
    return tar_bytes(files)  # Python writes PAX headers for such names


def huge(deck: Deck) -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (8_000, 8_000)).save(buffer, "PNG")
    return zip_bytes({**deck.folders(count=40), "cat/scan.png": buffer.getvalue()})


def truncated(deck: Deck) -> bytes:
    files = deck.folders(count=40)
    whole = deck.take(0, 1)[0]
    return zip_bytes({**files, "cat/cut.png": whole[: len(whole) // 2]})


def shared(deck: Deck) -> bytes:
    files, twice = deck.folders(), deck.take(0, 1)[0]
    return zip_bytes({**files, "cat/same.png": twice, "dog/copy.png": twice})


def parts(deck: Deck, files: Files, /, **counts: int) -> bytes:
    """Class folders within folders of these names, beside other files."""
    inner = [deck.folders(f"{name}/{{label}}/{{n}}.png", n) for name, n in counts.items()]
    return zip_bytes({name: data for each in (files, *inner) for name, data in each.items()})


def flat_test(deck: Deck, count: int) -> bytes:
    train = deck.folders("train/{label}/{n}.png")
    return zip_bytes({**train, **deck.folders("test/{label}{n}.png", count)})


def roboflow(deck: Deck) -> bytes:
    parts = {"train": 10, "valid": 5, "test": 5}
    files = {
        name: saved(data, "JPEG", quality=95)
        for part, count in parts.items()
        for name, data in deck.folders(f"{part}/{{label}}/{{n}}_jpg.rf.0f3a9c.jpg", count).items()
    }
    return zip_bytes({**files, "README.dataset.txt": b"pets", "README.roboflow.txt": b"v1"})


def two_levels(deck: Deck) -> bytes:
    files = deck.folders("{label}/{n}.png", labels=("animals/cat", "animals/owl", "cars/van"))
    return zip_bytes(files)


def zips_in_zip(deck: Deck) -> bytes:
    by_label = {
        label: {f"{n}.png": data for n, data in enumerate(deck.take(stack, 10))}
        for stack, label in enumerate(LABELS)
    }
    return zip_bytes({f"{label}.zip": zip_bytes(files) for label, files in by_label.items()})


def with_empty_folder(deck: Deck) -> bytes:
    files = [Entry(name.encode(), data) for name, data in deck.folders().items()]
    return raw_zip([*files, Entry(b"bird/", mode=0o040755, method=0)])


def names_as_labels(deck: Deck) -> bytes:
    files = {**deck.folders("train/{label}.{n}.png"), **deck.folders("test1/{label}{n}.png", 3)}
    return zip_bytes({**files, "sampleSubmission.csv": b"id,label\n1,0\n"})


def other_table(deck: Deck) -> bytes:
    files = deck.folders("train/{label}{n}.png")
    rows = [f"{name[6:-4]},{name[6:9]}" for name in files]
    return zip_bytes({**files, "labels.csv": "\n".join(["id,breed", *rows]).encode()})


def texts(deck: Deck) -> bytes:
    pages = {f"dog/{n}.jpg": b"<html>404 Not Found</html>" for n in range(3)}
    return zip_bytes({**deck.folders(), **pages})


def zstandard(deck: Deck) -> bytes:
    data = tar_bytes(deck.folders("./{label}/{n}"))
    return bytes(pa.compress(data, "zstd", asbytes=True))


def accented(form: str) -> Callable[[str], bytes]:
    return lambda name: unicodedata.normalize(form, name).encode()
