"""Domain values as JSON and back: for JSON columns and for the pipe to a job's child process."""

import math
from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import to_jsonable_python


def dump(value: object) -> Any:
    """Plain JSON types. NaN and infinities, which JSON has no words for, become null.

    Raises ValueError for what has no JSON form.
    """
    return _storable(to_jsonable_python(value, fallback=_plain))


def load(kind: Any, document: Any) -> Any:
    """A value of `kind` (a dataclass, `tuple[X, ...]`, …). Raises pydantic.ValidationError."""
    return _adapter(kind).validate_python(document)


def clean(text: str) -> str:
    """The text without what PostgreSQL cannot store: NUL and lone surrogates."""
    return text.replace("\x00", "").encode(errors="replace").decode()


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise ValueError(f"{type(value).__name__} has no JSON form")


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {clean(name): _storable(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_storable(item) for item in value]
    return value
