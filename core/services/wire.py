"""Domain values as JSON and back: what crosses the pipe to a child, and what a row holds."""

from typing import Any

from core.db import documents


def dump(value: object) -> Any:
    """Plain JSON types. NaN and infinities, which JSON has no words for, become null."""
    return documents.dump(value)


def load(kind: Any, document: Any) -> Any:
    """A value of `kind` (a domain dataclass, `tuple[X, ...]`, …). Raises ValueError."""
    return documents.load(kind, document)
