"""The files of what a job has made, by their names."""

from collections.abc import Sequence

from core.domain.searches import Artifact
from core.errors import NotFound


def named(found: Sequence[Artifact], name: str, *, of: str) -> Artifact:
    """The file of that name. Raises NotFound, which lists those that are there."""
    for each in found:
        if each.name == name:
            return each
    listed = ", ".join(each.name for each in found) or "none yet"
    raise NotFound(f"This {of} has no file of that name; it has: {listed}.")
