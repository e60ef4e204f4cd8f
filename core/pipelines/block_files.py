"""The sources of one embedder as memory-mapped files: a worker's own cache, made from the store.

`core.pipelines.block_folder` has what lies on the disk and how it stays whole.
"""

import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.ot import neighbourhoods, source_block
from core.ot.embedded_dataset import EmbeddedDataset
from core.ot.neighbourhoods import Yardstick
from core.ot.source_block import RANK, SAMPLES, SourceBlock
from core.pipelines import block_folder

AT_ONCE = 64  # sources summarised between two writes of the index
# A yardstick serves until the registry has grown by so much.
_GROWTH = 1.1


class BlockFiles:
    """One embedder's block on disk."""

    def __init__(self, folder: Path, *, dimension: int, samples: int) -> None:
        """Nothing is read yet.

        `samples` is the size of the sample that distances are measured on.
        """
        self._about = {
            "format": block_folder.FORMAT,
            "dimension": dimension,
            "samples": samples,
            "rank": RANK,
            "block_samples": SAMPLES,
        }
        self._folder = folder
        self._dimension, self._samples = dimension, samples
        self._generation: str | None = None  # of rows: written anew, they have other places

    def load(
        self, keys: Sequence[str], embedded: Callable[[str], EmbeddedDataset]
    ) -> tuple[SourceBlock, NDArray[np.int64]]:
        """The block, and the row of each key: 64 hexadecimal digits that stand for a source.

        Sources that are not in it yet are fetched with `embedded` and appended.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with block_folder.alone(self._folder):
            known = self._known()
            missing = [key for key in dict.fromkeys(keys) if key not in known]
            for start in range(0, len(missing), AT_ONCE):
                self._append(missing[start : start + AT_ONCE], embedded)
            known = self._known()
            block = self._mapped(len(known))
            self._generation = self._current()
        return block, np.array([known[key] for key in keys], dtype=np.int64)

    def yardstick(self, block: SourceBlock) -> Yardstick:
        """The registry's own distances, measured anew when it has grown by a tenth."""
        path = self._folder / "yardstick.json"
        generation = self._generation or self._current()
        try:
            kept = json.loads(path.read_text())
            same = kept["generation"] == generation
            if same and kept["size"] <= len(block) <= _GROWTH * kept["size"]:
                return Yardstick(*(np.array(kept[name]) for name in _YARDSTICK))
        except block_folder.DAMAGED:
            pass  # absent, or not ours: measure
        found = neighbourhoods.measure(block)
        content = {name: getattr(found, name).tolist() for name in _YARDSTICK}
        with block_folder.alone(self._folder):  # others may be about to write theirs
            about = {"size": len(block), "generation": generation}
            block_folder.replace(path, json.dumps({**about, **content}))
        return found

    def _known(self) -> dict[str, int]:
        return block_folder.known(self._folder, self._about)

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
        sizes, generation = self._sizes(), self._current() or secrets.token_hex(8)
        for field in fields(SourceBlock):
            array = np.ascontiguousarray(getattr(added, field.name))
            if field.name.endswith("_starts"):
                array = np.diff(array)  # sizes can be appended; starts are their sums
            block_folder.write(
                self._folder / f"{field.name}.bin", sizes.get(field.name, 0), array.tobytes()
            )
            sizes[field.name] = sizes.get(field.name, 0) + array.nbytes
        block_folder.write(
            self._folder / "keys.bin", 32 * count, b"".join(map(bytes.fromhex, keys))
        )
        index = {
            "about": self._about,
            "sources": count + len(keys),
            "bytes": sizes,
            "generation": generation,
        }
        block_folder.replace(self._folder / "index.json", json.dumps(index))

    def _sizes(self) -> dict[str, int]:
        found: dict[str, int] = block_folder.index(self._folder).get("bytes", {})
        return found

    def _current(self) -> str | None:
        found: str | None = block_folder.index(self._folder).get("generation")
        return found

    def _mapped(self, count: int) -> SourceBlock:
        sizes = self._sizes()
        arrays: dict[str, NDArray[Any]] = {}
        for name, (kind, shape) in block_folder.layout(self._dimension, RANK).items():
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
