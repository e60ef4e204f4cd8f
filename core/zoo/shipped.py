"""The supernets that come with the package: one bundle a file in this folder."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

SUFFIX = ".safetensors"


@dataclass(frozen=True, slots=True)
class Shipped:
    """One bundle of the package; `name` is its file's, without the suffix."""

    name: str
    source: Traversable

    def file(self) -> AbstractContextManager[Path]:
        """The bundle as a file, for the length of a block."""
        return resources.as_file(self.source)


def folder() -> Traversable:
    """Where the package keeps its bundles."""
    return resources.files("core.zoo")


def bundles() -> tuple[Shipped, ...]:
    """The bundles of the package, by name."""
    found = (each for each in folder().iterdir() if each.name.endswith(SUFFIX) and each.is_file())
    named = (Shipped(each.name.removesuffix(SUFFIX), each) for each in found)
    return tuple(sorted(named, key=lambda each: each.name))
