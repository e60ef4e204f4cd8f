"""Bundles as bytes: good ones of a tiny supernet, and any other that a test wants."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from core.data.bundle import METADATA

SPACE = {"channels": 2, "layers": 3, "nodes": 1, "cells": "s2"}
DATASETS = [{"name": "digits", "sha256": "a" * 64, "classes": 10, "images": 1000}]
LINEAGE: Mapping[str, Any] = {
    "kind": "dataset",
    "datasets": DATASETS,
    "parents": ["b" * 64],
    "training": {"steps": 7},
}
MANIFEST: Mapping[str, Any] = {
    "format": 1,
    "name": "tiny",
    "space": SPACE,
    "resolution": 16,
    "lineage": LINEAGE,
    "training": {"seconds": 2.5, "metrics": {"valid_accuracy": 0.5, "history": [{"loss": 1.0}]}},
}
# Not a whole supernet: what can be known of one without torch. One node with two in-edges of two
# operations; the half is 0x3F00 in bfloat16, its negative 0xBF00.
Tensors = Mapping[str, tuple[str, list[int], bytes]]
TENSORS: Tensors = {
    "norm.num_batches_tracked": ("I64", [], np.array(3, "<i8").tobytes()),
    "alphas_normal": ("BF16", [2, 2], bytes.fromhex("003f00bf003f00bf")),
    "alphas_reduction": ("BF16", [2, 2], bytes.fromhex("003f00bf003f00bf")),
    "norm.running_var": ("BF16", [2], bytes.fromhex("003f803f")),
    "cells.0.weight": ("BF16", [10, 100], b"\0\0" * 1000),  # as many as its space has at least
}


def encoded(
    tensors: Tensors = TENSORS,
    manifest: Mapping[str, Any] | str | None = None,
    **changes: Any,
) -> bytes:
    """A bundle of these tensors; `changes` to its manifest, its digest among them."""
    data = b"".join(each[2] for each in tensors.values())
    told = {**MANIFEST, "sha256": hashlib.sha256(data).hexdigest(), **changes}
    text = manifest if isinstance(manifest, str) else json.dumps(manifest or told)
    header: dict[str, Any] = {"__metadata__": {METADATA: text}}
    at = 0
    for name, (kind, shape, each) in tensors.items():
        places = [at, at + len(each)]
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": places}
        at += len(each)
    return raw(json.dumps(header).encode(), data)


def raw(header: bytes, data: bytes = b"") -> bytes:
    """A safetensors file with this header, whatever it says."""
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data
