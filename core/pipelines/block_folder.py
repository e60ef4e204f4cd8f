"""The folder of a block of sources as files, without their meaning, and so without torch.

One raw file for each array, only ever appended to, and an index that counts what is valid,
replaced last: a writer that is killed leaves bytes that nobody counts, and the next one writes
over them. What does not fit its index is thrown away and made again.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from itertools import accumulate, pairwise
from pathlib import Path
from struct import iter_unpack
from typing import Any, BinaryIO

import numpy as np

FORMAT = 2
DAMAGED = (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError)
KEY_BYTES = 32
_CHUNK = 1 << 20

About = Mapping[str, Any]


def layout(dimension: int, rank: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type and shape of a row of each array."""
    return {
        "class_starts": ("<i8", ()),
        "class_weights": ("<f8", ()),
        "class_signatures": ("<f4", (2 * dimension,)),
        "class_factors": ("<f2", (dimension, rank)),
        "class_scales": ("<f4", ()),
        "source_signatures": ("<f4", (2 * dimension,)),
        "second_moments": ("<f8", ()),
        "sample_starts": ("<i8", ()),
        "sample_features": ("<f2", (dimension,)),
        "sample_labels": ("<i4", ()),
        "sample_centres": ("<f4", (dimension,)),
        "sample_scales": ("<f4", ()),
    }


# Arrays that have a row for each class, or each sample, of a source; the others have one for all.
_PER_CLASS = ("class_weights", "class_signatures", "class_factors", "class_scales")
_PER_SAMPLE = ("sample_features", "sample_labels")


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Nobody else reads the index or writes meanwhile."""
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def known(folder: Path, about: About) -> dict[str, int]:
    """Keys by row; empties the folder when it is not as its index says, or of another kind."""
    try:
        found = _indexed(folder, about)
    except DAMAGED:  # absent or damaged: it is a cache
        found = {}
    if not found:
        _empty(folder)
    return found


def index(folder: Path) -> dict[str, Any]:
    """What the index says; nothing where there is none."""
    try:
        found: dict[str, Any] = json.loads((folder / "index.json").read_text())
    except OSError:
        return {}
    return found


def write(path: Path, at: int, content: bytes) -> None:
    """Put the content there, durably, and let the file end with it."""
    with path.open("r+b" if path.exists() else "w+b") as file:
        file.truncate(at)
        file.seek(at)
        file.write(content)
        _keep(file)


def replace(path: Path, content: str) -> None:
    """Give the file this content, whole or not at all."""
    fresh = path.with_suffix(".new")
    with fresh.open("w") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def forget(folder: Path, alive: Callable[[Set[str]], Collection[str]]) -> int:
    """Write the block that lies there anew with only the sources that `alive` names, given all
    keys; how many went. A damaged block goes whole, and counts for none.

    Blocks that are in use stay as they are: their files lose no more than their names.
    """
    if not folder.is_dir():
        return 0
    with alone(folder):
        for path in folder.glob("*.new"):  # of one that was killed
            path.unlink()
        try:
            said = index(folder)
            about = said["about"] | {"format": FORMAT}
        except DAMAGED:
            said, about = {}, {}
        rows = known(folder, about)
        kept = set(alive(rows.keys())) if rows else set()
        left = [key for key in rows if key in kept]
        if len(left) < len(rows):
            _rewrite(folder, said, [rows[key] for key in left])
    return len(rows) - len(left)


def _rewrite(folder: Path, said: About, rows: Sequence[int]) -> None:
    if not rows:
        _empty(folder)
        return
    sizes: dict[str, int] = {}
    spans = _spans(folder, said)
    for name, span in spans.items():
        with (folder / f"{name}.bin").open("rb") as old, _fresh(folder, name).open("wb") as new:
            sizes[name] = sum(_copy(old, new, *span[row]) for row in rows)
            _keep(new)
    # Without an index a folder is emptied: it goes first and comes last.
    for name in ("index.json", "yardstick.json"):
        (folder / name).unlink(missing_ok=True)
    for name in spans:
        _fresh(folder, name).replace(folder / f"{name}.bin")
    del sizes["keys"]
    generation = os.urandom(8).hex()  # rows have other places now
    anew = {**said, "sources": len(rows), "bytes": sizes, "generation": generation}
    replace(folder / "index.json", json.dumps(anew))


def _spans(folder: Path, said: About) -> dict[str, list[tuple[int, int]]]:
    """Where each source begins and ends in each file, in bytes."""
    count, about = said["sources"], said["about"]
    one = [1] * count
    many = {name: _numbers(folder, f"{name}_starts", count) for name in ("class", "sample")}
    spans = {"keys": _cut(one, KEY_BYTES)}
    for name, (kind, shape) in layout(about["dimension"], about["rank"]).items():
        row = int(np.prod(shape, dtype=np.int64)) * np.dtype(kind).itemsize
        per = "class" if name in _PER_CLASS else "sample" if name in _PER_SAMPLE else None
        spans[name] = _cut(one if per is None else many[per], row)
    return spans


def _numbers(folder: Path, name: str, count: int) -> list[int]:
    content = (folder / f"{name}.bin").read_bytes()[: 8 * count]
    return [number for (number,) in iter_unpack("<q", content)]


def _cut(counts: Sequence[int], row: int) -> list[tuple[int, int]]:
    ends = accumulate((count * row for count in counts), initial=0)
    return list(pairwise(ends))


def _copy(old: BinaryIO, new: BinaryIO, start: int, end: int) -> int:
    old.seek(start)
    for at in range(start, end, _CHUNK):
        new.write(old.read(min(_CHUNK, end - at)))
    return end - start


def _fresh(folder: Path, name: str) -> Path:
    return folder / f"{name}.new"


def _keep(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != ".lock":
            path.unlink()


def _indexed(folder: Path, about: About) -> dict[str, int]:
    """What the index counts; nothing when that is not there, or of other blocks."""
    said = json.loads((folder / "index.json").read_text())
    count, sizes = int(said["sources"]), said["bytes"]
    content = (folder / "keys.bin").read_bytes()[: KEY_BYTES * count]
    starts = range(0, KEY_BYTES * count, KEY_BYTES)
    found = {content[at : at + KEY_BYTES].hex(): row for row, at in enumerate(starts)}
    whole = (
        said["about"] == about
        and sizes.keys() == layout(about["dimension"], about["rank"]).keys()
        and sizes["second_moments"] == 8 * count == 8 * len(found)
        and len(content) == KEY_BYTES * count
        and all((folder / f"{name}.bin").stat().st_size >= size for name, size in sizes.items())
    )
    return found if whole else {}
