"""The sources of one embedder as memory-mapped files: a worker's own cache, made from the store.

One raw file for each array, only ever appended to, and an index that counts what is valid,
replaced last: a writer that is killed leaves bytes that nobody counts, and the next one writes
over them. What does not fit its index is thrown away and made again.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.ot import neighbourhoods, source_block
from core.ot.embedded_dataset import EmbeddedDataset
from core.ot.neighbourhoods import Yardstick
from core.ot.source_block import RANK, SAMPLES, SourceBlock

FORMAT = 1
AT_ONCE = 64  # sources summarised between two writes of the index
# A yardstick serves until the registry has grown by so much.
_GROWTH = 1.1
_DAMAGED = (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError)


class BlockFiles:
    """One embedder's block on disk."""

    def __init__(self, folder: Path, *, dimension: int, samples: int) -> None:
        """Nothing is read yet.

        `samples` is the size of the sample that distances are measured on.
        """
        self._about = {
            "format": FORMAT,
            "dimension": dimension,
            "samples": samples,
            "rank": RANK,
            "block_samples": SAMPLES,
        }
        self._folder = folder
        self._dimension, self._samples = dimension, samples

    def load(
        self, keys: Sequence[str], embedded: Callable[[str], EmbeddedDataset]
    ) -> tuple[SourceBlock, NDArray[np.int64]]:
        """The block, and the row of each key: 64 hexadecimal digits that stand for a source.

        Sources that are not in it yet are fetched with `embedded` and appended.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._alone():
            known = self._known()
            missing = [key for key in dict.fromkeys(keys) if key not in known]
            for start in range(0, len(missing), AT_ONCE):
                self._append(missing[start : start + AT_ONCE], embedded)
            known = self._known()
            block = self._mapped(len(known))
        return block, np.array([known[key] for key in keys], dtype=np.int64)

    def yardstick(self, block: SourceBlock) -> Yardstick:
        """The registry's own distances, measured anew when it has grown by a tenth."""
        path = self._folder / "yardstick.json"
        try:
            kept = json.loads(path.read_text())
            if kept["size"] <= len(block) <= _GROWTH * kept["size"]:
                return Yardstick(*(np.array(kept[name]) for name in _YARDSTICK))
        except _DAMAGED:
            pass  # absent, or not ours: measure
        found = neighbourhoods.measure(block)
        content = {name: getattr(found, name).tolist() for name in _YARDSTICK}
        with self._alone():  # others may be about to write theirs
            _replace(path, json.dumps({"size": len(block), **content}))
        return found

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with (self._folder / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _known(self) -> dict[str, int]:
        """Keys by row; empties the folder when it is not as its index says."""
        try:
            known = self._indexed()
        except _DAMAGED:  # absent or damaged: it is a cache
            known = {}
        if not known:
            for path in self._folder.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.name != ".lock":
                    path.unlink()
        return known

    def _indexed(self) -> dict[str, int]:
        """What the index counts; nothing when that is not there, or of other blocks."""
        index = json.loads((self._folder / "index.json").read_text())
        count, sizes = int(index["sources"]), index["bytes"]
        content = (self._folder / "keys.bin").read_bytes()[: 32 * count]
        known = {content[32 * row : 32 * row + 32].hex(): row for row in range(count)}
        whole = (
            index["about"] == self._about
            and sizes.keys() == _layout(self._dimension).keys()
            and sizes["second_moments"] == 8 * count == 8 * len(known)
            and len(content) == 32 * count
            and all(
                (self._folder / f"{name}.bin").stat().st_size >= size
                for name, size in sizes.items()
            )
        )
        return known if whole else {}

    def _append(self, keys: Sequence[str], embedded: Callable[[str], EmbeddedDataset]) -> None:
        count = len(self._known())
        added = source_block.concatenate(
            [source_block.summarise(embedded(key), samples=self._samples) for key in keys]
        )
        if added.dimension != self._dimension:
            raise ValueError(
                f"these sources have {added.dimension} feature dimensions, "
                f"the block {self._dimension}"
            )
        sizes = self._sizes()
        for field in fields(SourceBlock):
            array = np.ascontiguousarray(getattr(added, field.name))
            if field.name.endswith("_starts"):
                array = np.diff(array)  # sizes can be appended; starts are their sums
            _write(self._folder / f"{field.name}.bin", sizes.get(field.name, 0), array.tobytes())
            sizes[field.name] = sizes.get(field.name, 0) + array.nbytes
        _write(self._folder / "keys.bin", 32 * count, b"".join(map(bytes.fromhex, keys)))
        index = {"about": self._about, "sources": count + len(keys), "bytes": sizes}
        _replace(self._folder / "index.json", json.dumps(index))

    def _sizes(self) -> dict[str, int]:
        try:
            found: dict[str, int] = json.loads((self._folder / "index.json").read_text())["bytes"]
        except OSError:
            return {}
        return found

    def _mapped(self, count: int) -> SourceBlock:
        sizes = self._sizes()
        arrays: dict[str, NDArray[Any]] = {}
        for name, (kind, shape) in _layout(self._dimension).items():
            row = int(np.prod(shape, dtype=np.int64)) * np.dtype(kind).itemsize
            rows = sizes.get(name, 0) // row
            path = self._folder / f"{name}.bin"
            if not rows:
                arrays[name] = np.zeros((0, *shape), kind)
                continue
            # Copy-on-write: writable in memory, as tensors over it want to be, never on disk.
            arrays[name] = np.memmap(path, kind, mode="c", shape=(rows, *shape))
            if name.endswith("_starts"):
                arrays[name] = np.concatenate([[0], np.cumsum(arrays[name])])
        if not count:
            arrays |= {name: np.zeros(1, np.int64) for name in ("class_starts", "sample_starts")}
        return SourceBlock(**arrays)


_YARDSTICK = ("references", "nearest", "distances")


def _layout(dimension: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type and shape of a row of each array."""
    return {
        "class_starts": ("<i8", ()),
        "class_weights": ("<f8", ()),
        "class_signatures": ("<f4", (2 * dimension,)),
        "class_factors": ("<f2", (dimension, RANK)),
        "class_scales": ("<f4", ()),
        "source_signatures": ("<f4", (2 * dimension,)),
        "second_moments": ("<f8", ()),
        "sample_starts": ("<i8", ()),
        "sample_features": ("<f2", (dimension,)),
        "sample_labels": ("<i4", ()),
        "sample_centres": ("<f4", (dimension,)),
        "sample_scales": ("<f4", ()),
    }


def _write(path: Path, at: int, content: bytes) -> None:
    with path.open("r+b" if path.exists() else "w+b") as file:
        file.truncate(at)
        file.seek(at)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _replace(path: Path, content: str) -> None:
    fresh = path.with_suffix(".new")
    with fresh.open("w") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
