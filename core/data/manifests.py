"""A bundle's manifest: its JSON spelled, and read back from a stranger.

Also in its file, for who has the file and asks nothing of the tensors: that needs no NumPy.
"""

import json
import math
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.data import tensor_header
from core.domain.supernets import LineageKind
from core.errors import Detail, InvalidInput

METADATA = "headstart.supernet"
FORMAT = 1
LARGEST = 2 * 1024**2
LONGEST_NAME = 200
DEEPEST = 16
MOST_DATASETS = 1000
MOST_PARENTS = 100
LARGEST_COUNT = 2**53
RESOLUTIONS = (8, 512)
SHA256 = re.compile(r"[0-9a-f]{64}")
FIELDS = frozenset({"format", "name", "space", "resolution", "lineage", "training", "sha256"})
TOLD = frozenset({"name", "sha256", "classes", "images"})
OPTIONAL = frozenset({"licence", "source"})


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle says of its supernet; `lineage` as `core.domain.supernets.lineage`."""

    name: str
    space: Mapping[str, Any]
    resolution: int
    lineage: Mapping[str, Any]
    metrics: Mapping[str, Any]
    seconds: float


def dumps(manifest: Manifest, *, sha256: str) -> str:
    """The one spelling; `sha256` is over the tensors' bytes."""
    record = {
        "format": FORMAT,
        "name": manifest.name,
        "space": dict(manifest.space),
        "resolution": manifest.resolution,
        "lineage": dict(manifest.lineage),
        "training": {"seconds": manifest.seconds, "metrics": dict(manifest.metrics)},
        "sha256": sha256,
    }
    return json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)


def loads(text: str) -> tuple[Manifest | None, str | None, list[Detail]]:
    """The manifest and the digest it names, unless something is wrong: then what."""
    if len(text) > LARGEST:
        message = f"Use at most {LARGEST:,} characters."
        return None, None, [Detail("manifest", "too_large", message)]
    try:
        found = json.loads(text, parse_constant=_number, parse_float=_number)
        if not isinstance(found, dict) or _too_deep(found, DEEPEST):
            raise ValueError("not an object, or too deep")
    except (ValueError, RecursionError):
        message = f"Write a JSON object, at most {DEEPEST} levels deep."
        return None, None, [Detail("manifest", "unreadable", message)]
    if found.get("format") != FORMAT:
        message = f"Its format is not {FORMAT}: another version of Headstart wrote it."
        return None, None, [Detail("manifest.format", "unknown_format", message)]
    problems = list(_problems(found))
    if problems:
        return None, None, problems
    training = found["training"]
    made = Manifest(
        name=found["name"],
        space=found["space"],
        resolution=found["resolution"],
        lineage=found["lineage"],
        metrics=training["metrics"],
        seconds=float(training["seconds"]),
    )
    return made, found["sha256"], []


def read(path: Path) -> tuple[Manifest, str]:
    """The manifest of a file and the digest that it names; the tensors are left unread.

    Raises InvalidInput (`bad_bundle`) with what is wrong.
    """
    try:
        with path.open("rb") as file:
            header = tensor_header.read(file)
    except ValueError as error:
        raise refusal([unreadable(error)]) from error
    manifest, digest, problems = loads(text_of(header[tensor_header.METADATA]))
    if manifest is None or digest is None:
        raise refusal(problems)
    return manifest, digest


def rewrite(path: Path, bundle: Path, manifest: Manifest) -> None:
    """Write the tensors of a bundle under another manifest. Raises InvalidInput for one that
    would not be read."""
    _, digest = read(bundle)
    text = dumps(manifest, sha256=digest)
    *_, problems = loads(text)
    if problems:
        raise refusal(problems)
    with bundle.open("rb") as file, path.open("wb") as out:
        header = tensor_header.read(file)
        header[tensor_header.METADATA] = {METADATA: text}
        tensor_header.write(out, header)
        shutil.copyfileobj(file, out)


def text_of(metadata: Mapping[str, str]) -> str:
    """The manifest among a file's texts. Raises InvalidInput where there is none."""
    if METADATA not in metadata:
        message = f"Its metadata have no '{METADATA}': it is no bundle."
        raise refusal([Detail("file", "no_manifest", message)])
    return metadata[METADATA]


def unreadable(error: ValueError) -> Detail:
    """What is wrong with a file that is no safetensors file."""
    return Detail("file", "unreadable", f"It cannot be read: {error}.")


def refusal(problems: list[Detail]) -> InvalidInput:
    """All that is wrong with a bundle, as one error."""
    listed = "; ".join(f"{each.place}: {each.message}" for each in problems[:3])
    message = f"This bundle cannot be accepted. {listed}"
    return InvalidInput(message, code="bad_bundle", details=problems)


def _problems(found: Mapping[str, Any]) -> Iterator[Detail]:
    if set(found) != FIELDS:
        yield _wrong("", f"Give these fields and no others: {', '.join(sorted(FIELDS))}.")
        return
    if not _is_name(found["name"]):
        yield _wrong(".name", f"Give 1 to {LONGEST_NAME} printable characters.")
    space = found["space"]
    if not isinstance(space, dict) or not all(type(v) in (int, str) for v in space.values()):
        yield _wrong(".space", "Give the space's fields, each a whole number or a word.")
    if not _is_count(found["resolution"], *RESOLUTIONS):
        yield _wrong(".resolution", f"Give a whole number from {RESOLUTIONS[0]} to 512.")
    if not _is_sha256(found["sha256"]):
        yield _wrong(".sha256", "Give the SHA-256 of the tensors' bytes, in hexadecimal.")
    training = found["training"]
    if (
        not isinstance(training, dict)
        or set(training) != {"seconds", "metrics"}
        or not _is_seconds(training["seconds"])
        or not isinstance(training["metrics"], dict)
    ):
        yield _wrong(".training", "Give its seconds, from 0, and its metrics by name.")
    yield from _lineage_problems(found["lineage"])


def _lineage_problems(lineage: Any) -> Iterator[Detail]:
    fields = {"kind", "datasets", "parents", "training"}
    if not isinstance(lineage, dict) or set(lineage) != fields:
        yield _wrong(".lineage", "Give its kind, datasets, parents and training.")
        return
    if lineage["kind"] not in list(LineageKind):
        yield _wrong(".lineage.kind", f"Give one of {', '.join(LineageKind)}.")
    datasets, parents = lineage["datasets"], lineage["parents"]
    if not isinstance(datasets, list) or not 1 <= len(datasets) <= MOST_DATASETS:
        yield _wrong(".lineage.datasets", f"List 1 to {MOST_DATASETS} datasets.")
    else:
        for index, each in enumerate(datasets):
            if not _is_dataset(each):
                message = "Give its name, sha256, classes and images; maybe licence and source."
                yield _wrong(f".lineage.datasets[{index}]", message)
    if not isinstance(parents, list) or len(parents) > MOST_PARENTS:
        yield _wrong(".lineage.parents", f"List at most {MOST_PARENTS} supernets.")
    elif not all(_is_sha256(each) for each in parents):
        yield _wrong(".lineage.parents", "Name each supernet by its SHA-256.")
    if not isinstance(lineage["training"], dict):
        yield _wrong(".lineage.training", "Give a record by name; it may be empty.")


def _is_dataset(value: Any) -> bool:
    if not isinstance(value, dict) or not TOLD <= set(value) <= TOLD | OPTIONAL:
        return False
    return (
        all(_is_name(value[key]) for key in {"name", *OPTIONAL} & set(value))
        and _is_sha256(value["sha256"])
        and all(_is_count(value[key], 1, LARGEST_COUNT) for key in ("classes", "images"))
    )


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= LONGEST_NAME and value.isprintable()


def _is_count(value: Any, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _is_seconds(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1e12 and math.isfinite(value)


def _is_sha256(value: Any) -> bool:
    return isinstance(value, str) and SHA256.fullmatch(value) is not None


def _number(word: str) -> float:
    value = float(word)
    if not math.isfinite(value):
        raise ValueError("JSON has no word for it")
    return value


def _too_deep(value: Any, levels: int) -> bool:
    if isinstance(value, dict | list):
        inside = value.values() if isinstance(value, dict) else value
        return levels == 0 or any(_too_deep(each, levels - 1) for each in inside)
    return False


def _wrong(place: str, message: str) -> Detail:
    return Detail(f"manifest{place}", "invalid", message)
