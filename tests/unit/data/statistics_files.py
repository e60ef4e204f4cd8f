"""Files of class statistics, good ones and bad ones."""

import json
from typing import Any

import numpy as np
from safetensors.numpy import save

from core.data.class_statistics import Array

EMBEDDER = "oriented-energy@1"


def arrays(
    *, classes: int = 3, dimension: int = 5, seed: int = 0, embedder: str = EMBEDDER
) -> dict[str, Array]:
    """What an owner's own statistics look like."""
    random = np.random.default_rng(seed)
    spectra = -np.sort(-random.uniform(0.1, 1.0, (classes, dimension)))
    axes = np.linalg.qr(random.normal(size=(classes, dimension, dimension)))[0]
    return {
        "counts": random.integers(5, 50, classes),
        "means": random.normal(size=(classes, dimension)),
        "factors": axes * spectra[:, None, :],
        "traces": np.square(spectra).sum(axis=1),
        "spectra": spectra,
        "about": about(classes=[f"class {c}" for c in range(classes)], embedder=embedder),
    }


def about(**record: Any) -> Array:
    """The description, encoded."""
    return np.frombuffer(json.dumps(record).encode(), np.uint8)


def encoded(**changes: Any) -> bytes:
    """A file; a change to None leaves a tensor out."""
    given = {name: each for name, each in {**arrays(), **changes}.items() if each is not None}
    return bytes(save({name: np.ascontiguousarray(each) for name, each in given.items()}))
