"""The layout of a safetensors file, read without the numbers: numpy has no word for bfloat16.

Hostile until checked: what is accepted here has one reading, and the library agrees with it. The
format: a header (`core.data.tensor_header`), then every tensor's bytes with no gap between them.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from safetensors import SafetensorError, safe_open

from core.data import tensor_header

MOST_TENSORS = 20_000
LONGEST_NAME = 200
MOST_AXES = 8
PIECE = 1024**2
WIDTHS: Mapping[str, int] = {"BF16": 2, "F32": 4, "I64": 8}
# What a module of a network may be called: never anything that looks like a path.
NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor: its type as the format spells it, its shape and its place after the header."""

    name: str
    kind: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Layout:
    """All tensors of a file, in the order of their bytes, and the texts beside them."""

    entries: tuple[Entry, ...]
    metadata: Mapping[str, str]
    data: int

    def pieces(self, file: IO[bytes], entry: Entry) -> Iterator[bytes]:
        """A tensor's bytes, a whole number of elements at a time."""
        file.seek(self.data + entry.start)
        left = entry.end - entry.start
        while left:
            piece = file.read(min(left, PIECE))
            if not piece:
                raise ValueError(f"the file ends within tensor '{entry.name}'")
            left -= len(piece)
            yield piece


def read(path: Path) -> Layout:
    """The file's layout. Raises ValueError saying what is wrong with it."""
    with path.open("rb") as file:
        found = tensor_header.read(file)
        data = file.tell()
    metadata = found.pop(tensor_header.METADATA)
    entries = tuple(sorted(_entries(found), key=lambda each: (each.start, each.end)))
    _agree(path, entries)
    return Layout(entries, metadata, data)


def write(
    path: Path, entries: Iterable[Entry], metadata: Mapping[str, str], data: IO[bytes]
) -> None:
    """The file with these tensors, whose bytes `data` gives from its beginning."""
    header: dict[str, Any] = {tensor_header.METADATA: dict(metadata)}
    for entry in entries:
        places = {"data_offsets": [entry.start, entry.end]}
        header[entry.name] = {"dtype": entry.kind, "shape": list(entry.shape), **places}
    with path.open("wb") as file:
        tensor_header.write(file, header)
        while piece := data.read(PIECE):
            file.write(piece)


def _entries(found: Mapping[str, Any]) -> Iterator[Entry]:
    if len(found) > MOST_TENSORS:
        raise ValueError(f"more than {MOST_TENSORS:,} tensors are not read")
    for name, told in found.items():
        if len(name) > LONGEST_NAME or not NAME.fullmatch(name):
            raise ValueError("a tensor's name is not words joined by points")
        yield _entry(name, told)


def _entry(name: str, told: Any) -> Entry:
    if not isinstance(told, dict) or set(told) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"tensor '{name}' lacks its type, shape or place")
    kind, shape, places = told["dtype"], told["shape"], told["data_offsets"]
    if not isinstance(kind, str) or kind not in WIDTHS:
        raise ValueError(f"tensor '{name}' is not of {', '.join(WIDTHS)}")
    if not _whole(shape) or not _whole(places) or len(shape) > MOST_AXES or len(places) != 2:
        raise ValueError(f"tensor '{name}' has no proper shape or place")
    start, end = places
    if end - start != WIDTHS[kind] * math.prod(shape):
        raise ValueError(f"tensor '{name}' has not the bytes that its shape needs")
    if start % WIDTHS[kind]:
        raise ValueError(f"tensor '{name}' is not aligned")
    return Entry(name, kind, tuple(shape), start, end)


def _whole(value: Any) -> bool:
    return isinstance(value, list) and all(type(each) is int and each >= 0 for each in value)


def _agree(path: Path, entries: tuple[Entry, ...]) -> None:
    """What will read the numbers one day must see the same tensors, and finds gaps, overlaps and
    a length that does not fit."""
    try:
        with safe_open(path, framework="numpy") as file:
            seen = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            shapes = {name: (each.get_dtype(), *each.get_shape()) for name, each in seen.items()}
    except (SafetensorError, OSError) as error:
        raise ValueError("it is not a safetensors file") from error
    if shapes != {each.name: (each.kind, *each.shape) for each in entries}:
        raise ValueError("it can be read in two ways")
