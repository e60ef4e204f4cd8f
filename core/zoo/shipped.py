"""The supernets that come with the package: one bundle a file in this folder."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import structlog
from sqlalchemy.exc import SQLAlchemyError

from core.config import Settings
from core.db.sessions import Sessions
from core.errors import AppError
from core.ports import ObjectStore
from core.zoo import entry

SUFFIX = ".safetensors"

log = structlog.stdlib.get_logger(__name__)


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


def enter(settings: Settings, sessions: Sessions, store: ObjectStore) -> None:
    """Register every bundle that is not there yet, unless HEADSTART_ZOO says off.

    Once per start, or per upgrade of a cluster; harmless when repeated, and when several
    processes do it at once. A bundle that cannot be entered is logged and left out: the service
    runs without it.
    """
    if not settings.zoo:
        return
    for each in bundles():
        try:
            with each.file() as path:
                supernet, created = entry.enter(path, sessions=sessions, store=store)
        except (AppError, OSError, SQLAlchemyError) as error:
            reason = error.message if isinstance(error, AppError) else type(error).__name__
            log.warning("zoo_bundle_left_out", bundle=each.name, reason=reason)
            continue
        if created:
            log.info("zoo_bundle_entered", bundle=each.name, supernet_id=str(supernet.id))
