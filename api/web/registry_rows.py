"""Supernets as the registry's pages show them, and those that the package brings."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy.orm import Session

from api.web import metrics, words
from core.data import manifests
from core.domain.supernets import LineageKind, Supernet
from core.errors import AppError
from core.pipelines import objects
from core.services import supernets
from core.services.gains import Record
from core.zoo import shipped

ORIGINS = {
    LineageKind.DATASET: "pretrained here",
    LineageKind.MULTI_DATASET: "pretrained here on several datasets",
    LineageKind.SEARCH: "left by a search",
    LineageKind.IMPORT: "imported",
}
NOTHING = Record(searches=0, lead=None, leads=0, kept=None, keeps=0)


@dataclass(frozen=True, slots=True)
class Shelved:
    """A supernet of the package."""

    name: str
    sha256: str
    size: int
    resolution: int
    lineage: Mapping[str, Any]

    @property
    def images(self) -> int:
        """That it was trained on."""
        return sum(int(each["images"]) for each in self.lineage["datasets"])

    @property
    def licences(self) -> tuple[str, ...]:
        """Of the datasets that it was trained on, each once."""
        return licences(self.lineage)


@dataclass(frozen=True, slots=True)
class ShelfRow:
    """It, and what it is here, once it is installed."""

    shelved: Shelved
    supernet: Supernet | None


@cache  # the package does not change while it runs
def _shelf() -> tuple[Shelved, ...]:
    return tuple(_shelved())


def _shelved() -> Iterator[Shelved]:
    for each in shipped.bundles():
        with each.file() as path:
            try:
                manifest, _ = manifests.read(path)
            except AppError:
                continue
            size, sha256 = path.stat().st_size, objects.checksum(path)
        yield Shelved(each.name, sha256, size, manifest.resolution, manifest.lineage)


def shelf(session: Session) -> list[ShelfRow]:
    """The package's supernets, and whether the project sees them."""
    return [ShelfRow(each, supernets.find(session, each.sha256)) for each in _shelf()]


def licences(lineage: Mapping[str, Any]) -> tuple[str, ...]:
    """The licences that are known of its datasets, each once."""
    told = (each.get("licence") for each in lineage.get("datasets", ()))
    return tuple(dict.fromkeys(each for each in told if each))


def space(supernet: Supernet) -> str:
    """How large its networks are."""
    found = supernet.space
    parts = [f"{supernet.resolution} pixels"]
    sizes = (("channels", "channels"), ("layers", "cells"))
    parts += [f"{found[name]} {said}" for name, said in sizes if found.get(name)]
    named = words.CELL_SPACES.get(str(found.get("cells", "")))
    return ", ".join([*parts, named] if named else parts)


def origin(supernet: Supernet) -> str:
    """How it came into the registry."""
    return ORIGINS[LineageKind(supernet.lineage["kind"])]


def accuracy(supernet: Supernet) -> float | None:
    """On validation images of what it was trained on, with its own head."""
    return metrics.number(supernet.metrics.get("valid_accuracy"))


def points(value: float | None, count: int) -> str:
    """A median gain and what it is of."""
    if value is None:
        return words.UNKNOWN
    return f"{value:+.1f} points (of {count})"
