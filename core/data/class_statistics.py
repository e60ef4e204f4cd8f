"""A file of class statistics: what a dataset's owner hands over instead of the images.

Hostile until checked. The container is safetensors: a JSON header and raw numbers, nothing that
could run; its header is bounded here before the library reads it, and every number is looked at.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from core.errors import Detail, InvalidInput

LARGEST_FILE = 64 * 1024**2
LARGEST_HEADER = 16 * 1024
LARGEST_ABOUT = 1024**2
MOST_CLASSES = 1000
MOST_DIMENSIONS = 8192
LONGEST_NAME = 200
MOST_SAMPLES = 2**40
LARGEST_VALUE = 1e12  # squared and summed, still far from the end of the floats
TOLERANCE = 1e-4  # factors may be of 32 bits

# m classes, D feature dimensions, R columns of the factors.
SHAPES: Mapping[str, tuple[str, ...]] = {
    "counts": ("m",),
    "means": ("m", "D"),
    "factors": ("m", "D", "R"),
    "traces": ("m",),
    "spectra": ("m", "D"),
    "about": ("bytes",),
}
TYPES: Mapping[str, tuple[str, ...]] = {
    "counts": ("I64",),
    "means": ("F64",),
    "factors": ("F64", "F32"),
    "traces": ("F64",),
    "spectra": ("F64",),
    "about": ("U8",),
}
REALS = ("means", "factors", "traces", "spectra")
# An embedding without its samples has these, and they hold nothing.
EMPTY: Mapping[str, tuple[type, tuple[str, ...]]] = {
    "features": (np.float32, ("0", "D")),
    "labels": (np.int64, ("0",)),
    "rows": (np.int64, ("0",)),
}

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class ClassStatistics:
    """Checked statistics; `arrays` are named as in the file."""

    classes: tuple[str, ...]
    counts: tuple[int, ...]
    embedder: str
    dimension: int
    centre: tuple[float, ...]
    arrays: Mapping[str, Array]

    def write(self, path: Path) -> None:
        """The one spelling of this content, readable as an embedding without samples."""
        about = {"classes": list(self.classes), "embedder": self.embedder}
        empty: dict[str, Array] = {
            name: np.zeros([0 if axis == "0" else self.dimension for axis in shape], kind)
            for name, (kind, shape) in EMPTY.items()
        }
        text = np.frombuffer(json.dumps(about).encode(), np.uint8)
        save_file({**self.arrays, **empty, "about": text}, path)


def read(path: Path) -> ClassStatistics:
    """The file's content. Raises InvalidInput (`bad_statistics`) with all that is wrong."""
    try:
        _check_header(path)
        with safe_open(path, framework="numpy") as file:
            shapes = {name: _described(file.get_slice(name)) for name in file.keys()}  # noqa: SIM118
            _refuse(_shape_problems(shapes))
            arrays = {name: file.get_tensor(name) for name in SHAPES}
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise _refusal([Detail("file", "unreadable", "It is not a safetensors file.")]) from error
    about, problems = _about(arrays.pop("about"))
    if not problems:
        problems += _class_problems(about, arrays)
    _refuse([*problems, *_value_problems(arrays)])
    return _checked(about, arrays)


def _check_header(path: Path) -> None:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > LARGEST_HEADER:
        message = f"A header of more than {LARGEST_HEADER:,} bytes is not read."
        raise _refusal([Detail("file", "header_too_large", message)])


def _described(part: Any) -> tuple[str, tuple[int, ...]]:
    return part.get_dtype(), tuple(part.get_shape())


def _shape_problems(found: Mapping[str, tuple[str, tuple[int, ...]]]) -> Iterator[Detail]:
    for name in SHAPES:
        if name not in found:
            yield Detail(name, "missing_tensor", f"There must be a tensor '{name}'.")
    for name in sorted(set(found) - set(SHAPES)):
        yield from _extra(name, found[name][1])
    present = {name: each for name, each in found.items() if name in SHAPES}
    for name, (kind, _) in present.items():
        if kind not in TYPES[name]:
            wanted = " or ".join(TYPES[name])
            yield Detail(name, "wrong_type", f"Its type is {kind}; make it {wanted}.")
    sizes = _sizes(present)
    for name, (_, shape) in present.items():
        wanted_shape = tuple(sizes.get(axis) for axis in SHAPES[name])
        if shape != wanted_shape:
            spelled = ", ".join(SHAPES[name])
            message = f"Its shape is {list(shape)}; make it [{spelled}], the same in all tensors."
            yield Detail(name, "wrong_shape", message)
    yield from _size_problems(sizes)


def _extra(name: str, shape: tuple[int, ...]) -> Iterator[Detail]:
    place = name[:LONGEST_NAME] if name.isprintable() else "file"
    if name not in EMPTY:
        yield Detail(place, "unexpected_tensor", "Only class statistics belong in this file.")
    elif shape[:1] != (0,):
        message = "It holds single samples, and those are to stay with their owner."
        yield Detail(place, "holds_samples", message)


def _sizes(found: Mapping[str, tuple[str, tuple[int, ...]]]) -> dict[str, int]:
    """What the axes measure, by the tensors that say it best."""
    sizes: dict[str, int] = {}
    for name in ("means", "factors", "counts", "about"):
        _, shape = found.get(name, ("", ()))
        if len(shape) == len(SHAPES[name]):
            for axis, size in zip(SHAPES[name], shape, strict=True):
                sizes.setdefault(axis, size)
    return sizes


def _size_problems(sizes: Mapping[str, int]) -> Iterator[Detail]:
    if not 1 <= sizes.get("m", 1) <= MOST_CLASSES:
        yield Detail("means", "too_many_classes", f"Give 1 to {MOST_CLASSES} classes.")
    dimensions = sizes.get("D", 1)
    if not 1 <= dimensions <= MOST_DIMENSIONS:
        message = f"Give 1 to {MOST_DIMENSIONS} feature dimensions."
        yield Detail("means", "too_many_dimensions", message)
    if not 1 <= sizes.get("R", 1) <= max(dimensions, 1):
        yield Detail("factors", "wrong_rank", "Give 1 to D columns.")
    if sizes.get("bytes", 0) > LARGEST_ABOUT:
        yield Detail("about", "too_large", f"Use at most {LARGEST_ABOUT:,} bytes.")


def _about(encoded: Array) -> tuple[tuple[tuple[str, ...], str], list[Detail]]:
    try:
        record = json.loads(encoded.tobytes())
        classes, embedder = record["classes"], record["embedder"]
        fits = set(record) == {"classes", "embedder"} and isinstance(classes, list)
        if not fits or not all(isinstance(each, str) for each in [*classes, embedder]):
            raise ValueError("not the shape it has")
    except (ValueError, KeyError, TypeError, RecursionError):
        message = 'Write JSON: {"classes": [names], "embedder": "name@version"}.'
        return ((), ""), [Detail("about", "unreadable", message)]
    return (tuple(classes), embedder), []


def _class_problems(
    about: tuple[tuple[str, ...], str], arrays: Mapping[str, Array]
) -> Iterator[Detail]:
    classes, _ = about
    if len(classes) != len(arrays["counts"]):
        message = f"It names {len(classes)} classes for {len(arrays['counts'])}."
        yield Detail("about", "wrong_class_count", message)
    if len(set(classes)) != len(classes):
        yield Detail("about", "repeated_class", "Give every class a name of its own.")
    if not all(0 < len(each) <= LONGEST_NAME and each.isprintable() for each in classes):
        message = f"Give names of 1 to {LONGEST_NAME} printable characters."
        yield Detail("about", "bad_class_name", message)


def _value_problems(arrays: Mapping[str, Array]) -> Iterator[Detail]:
    sane = True
    for name in REALS:
        if not np.isfinite(arrays[name]).all():
            sane = False
            yield Detail(name, "not_finite", "It holds NaN or infinity.")
        elif np.abs(arrays[name]).max() > LARGEST_VALUE:
            sane = False
            message = f"It holds values beyond {LARGEST_VALUE:g}."
            yield Detail(name, "out_of_range", message)
    counts, traces, spectra = arrays["counts"], arrays["traces"], arrays["spectra"]
    if (counts < 1).any() or (counts > MOST_SAMPLES).any():
        message = f"Every class has 1 to {MOST_SAMPLES:,} samples."
        yield Detail("counts", "out_of_range", message)
    if (traces < 0).any():
        yield Detail("traces", "negative", "No trace is below zero.")
    if (spectra < 0).any() or (np.diff(spectra, axis=1) > TOLERANCE * spectra[:, :1]).any():
        message = "They fall from left to right and never below zero."
        yield Detail("spectra", "not_falling", message)
    if sane:
        yield from _consistency(arrays)


def _consistency(arrays: Mapping[str, Array]) -> Iterator[Detail]:
    """The three say the same of each class's variance: distances would be nonsense otherwise."""
    traces = arrays["traces"]
    slack = TOLERANCE * np.abs(traces) + np.finfo(np.float64).tiny
    if (np.abs(np.square(arrays["spectra"]).sum(axis=1) - traces) > slack).any():
        message = "Their squares add up to the class's trace."
        yield Detail("spectra", "inconsistent", message)
    factors = arrays["factors"]
    explained = np.einsum("mdr,mdr->m", factors, factors, dtype=np.float64)
    if (explained > traces + slack).any():
        message = "They hold no more variance than the class's trace."
        yield Detail("factors", "inconsistent", message)


def _checked(about: tuple[tuple[str, ...], str], arrays: Mapping[str, Array]) -> ClassStatistics:
    classes, embedder = about
    counts, means = arrays["counts"], arrays["means"]
    weights = counts / counts.sum(dtype=np.float64)
    return ClassStatistics(
        classes=classes,
        counts=tuple(counts.tolist()),
        embedder=embedder,
        dimension=means.shape[1],
        centre=tuple((weights @ means).tolist()),
        arrays={
            "counts": counts,
            "means": means,
            "factors": arrays["factors"].astype(np.float64, copy=False),
            "traces": arrays["traces"],
            "spectra": arrays["spectra"],
        },
    )


def _refuse(problems: Iterator[Detail] | list[Detail]) -> None:
    found = list(problems)
    if found:
        raise _refusal(found)


def _refusal(problems: list[Detail]) -> InvalidInput:
    listed = "; ".join(f"{each.place}: {each.message}" for each in problems[:3])
    message = f"These class statistics cannot be accepted. {listed}"
    return InvalidInput(message, code="bad_statistics", details=problems)
