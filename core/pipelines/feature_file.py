"""Features on disk, filled from the front: memory stays that of one batch, however many there are.

A checkpoint is a safetensors file of the rows done so far. The format's own writer wants the whole
tensor in memory; its layout is a length, a JSON header and the raw rows.
"""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

_ROWS = 4096  # copied at once


class FeatureFile:
    """`[rows, dimension]` float32 in a file of this attempt's own."""

    def __init__(self, path: Path, *, rows: int, dimension: int) -> None:
        self._map = np.memmap(path, np.float32, "w+", shape=(rows, dimension))

    def write(self, start: int, features: Tensor) -> None:
        """Put the features of the images from `start` on."""
        self._map[start : start + len(features)] = features.numpy()

    def tensor(self) -> Tensor:
        """All rows, mapped, not read."""
        return torch.from_numpy(self._map)

    def save(self, path: Path, done: int, *, embedder: str, seconds: float) -> Path:
        """The first `done` rows as a file to resume from."""
        dimension = self._map.shape[1]
        described = {
            "dtype": "F32",
            "shape": [done, dimension],
            "data_offsets": [0, 4 * done * dimension],
        }
        about = {"embedder": embedder, "seconds": str(seconds)}
        text = json.dumps({"__metadata__": about, "features": described}).encode()
        text += b" " * (-len(text) % 8)
        with path.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for start in range(0, done, _ROWS):
                file.write(self._map[start : min(start + _ROWS, done)].tobytes())
        return path

    def resume(self, path: Path, *, embedder: str) -> tuple[int, float]:
        """Take over what `save` wrote: rows done and seconds spent, none of another embedder."""
        try:
            with safe_open(path, framework="numpy") as file:
                about, saved = file.metadata() or {}, file.get_slice("features")
                done, dimension = saved.get_shape()
                fits = dimension == self._map.shape[1] and done <= len(self._map)
                if about.get("embedder") != embedder or not fits:
                    return 0, 0.0
                for start in range(0, done, _ROWS):
                    stop = min(start + _ROWS, done)
                    self._map[start:stop] = saved[start:stop]
                return done, float(about["seconds"])
        except (SafetensorError, KeyError, ValueError):  # written by something else
            return 0, 0.0
