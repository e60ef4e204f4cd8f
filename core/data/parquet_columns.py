"""Which columns of a Parquet file hold images, classes, splits and groups."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.data import names
from core.data.labels import SPLIT, Findings, Labels

_IMAGE_NAMES = ("image", "img", "picture", "photo")
_LISTED = 20
Names = Sequence[str] | None


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns that count, what numbers in two of them stand for, and what to read for them."""

    image: str
    label: str
    label_names: Names
    split: str | None
    split_names: Names
    group: str | None
    leaves: tuple[str, ...]


def columns_of(schema: Any, place: str, labels: Labels, found: Findings) -> Columns | None:
    """The columns to read of a file with this Arrow schema; None, and faults, if it lacks some."""
    features = _features(schema)
    types = dict(zip(schema.names, schema.types, strict=True))
    twice = next((name for name in types if schema.names.count(name) > 1), None)
    listed = ", ".join(names.printable(name) for name in list(types)[:_LISTED])
    image, label = _image_column(types, features), _label_column(types, features, labels)
    if twice is not None:
        words = f"More than one column is called {names.printable(twice)}; rename one."
        found.fault(place, "duplicate_column", words)
    if image is None:
        words = (
            "There is no column of images, which has to be called image and to hold their bytes, "
            f"or {{bytes, path}} ({listed})."
        )
        found.fault(place, "no_image_column", words)
    if label is None:
        words = f"Say by the option label which of its columns names the class ({listed})."
        found.fault(place, "no_label_column", words)
    if twice is not None or image is None or label is None:
        return None
    split = _column(SPLIT, types)
    group = None if labels.group_column is None else _column(labels.group_column, types)
    leaves = [image] if _is_binary(types[image]) else [f"{image}.bytes", f"{image}.path"]
    return Columns(
        image=image,
        label=label,
        label_names=_names(features.get(label)),
        split=split,
        split_names=None if split is None else _names(features.get(split)),
        group=group,
        leaves=(*leaves, *(name for name in (label, split, group) if name is not None)),
    )


def _features(schema: Any) -> Mapping[str, Any]:
    """The columns as `datasets` describes them; empty where no description can be read."""
    text = (schema.metadata or {}).get(b"huggingface", b"{}")
    try:
        features = json.loads(text)["info"]["features"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def _kind(feature: object) -> object:
    return feature.get("_type") if isinstance(feature, dict) else None


def _names(feature: object) -> Names:
    """What the numbers of a column stand for, if they stand for names."""
    if not isinstance(feature, dict) or _kind(feature) != "ClassLabel":
        return None
    found = feature.get("names")
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        return None
    return found


def _column(name: str, types: Mapping[str, Any]) -> str | None:
    """The column of this name, or the only one that differs in case alone."""
    if name in types:
        return name
    alike = [each for each in types if each.casefold() == name.casefold()]
    return alike[0] if len(alike) == 1 else None


def _label_column(
    types: Mapping[str, Any], features: Mapping[str, Any], labels: Labels
) -> str | None:
    """The column that was chosen, or is called label, or is the only one of named classes."""
    named = _column(labels.column, types)
    if named is not None or labels.chosen:
        return named
    classes = [name for name in types if _names(features.get(name)) is not None]
    return classes[0] if len(classes) == 1 else None


def _image_column(types: Mapping[str, Any], features: Mapping[str, Any]) -> str | None:
    """The column that is described as images, or is called so, or alone could be of images."""
    able = [name for name, kind in types.items() if _is_image(kind)]
    described = [name for name in able if _kind(features.get(name)) == "Image"]
    for choice in (described, able):
        if len(choice) == 1:
            return choice[0]
        for name in _IMAGE_NAMES:
            if name in choice:
                return name
    return None


def _is_image(kind: Any) -> bool:
    import pyarrow as pa  # only here: it takes a while, and few uploads need it

    if not pa.types.is_struct(kind):
        return _is_binary(kind)
    fields = {field.name: field.type for field in kind}
    path = fields.get("path")
    text = path is None or pa.types.is_string(path) or pa.types.is_large_string(path)
    return "bytes" in fields and _is_binary(fields["bytes"]) and text


def _is_binary(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
