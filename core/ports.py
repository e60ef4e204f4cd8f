"""What core needs from outside and has more than one real adapter for."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

from core.domain.jobs import JobId, QueueName


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as a listing shows it; `modified` is the store's own time."""

    key: str
    size: int
    modified: datetime


@dataclass(frozen=True, slots=True)
class Unfinished:
    """What a `put` has written so far, or had when its process was killed: not an object.

    `mark` tells apart several for one key; only the store that gave it can read it.
    """

    key: str
    mark: str
    size: int
    began: datetime


Heard = Callable[[int], None]


def unheard(_: int) -> None:
    """For who need not know that bytes go."""


class ObjectStore(Protocol):
    """Immutable blobs by key. Keys are spelled by `core.domain.keys` alone."""

    def put(self, key: str, source: Path, *, heard: Heard = unheard) -> None:
        """Store the file; durable on return. A second `put` of a key is a no-op.

        `heard` is told of the bytes as they go, from any thread.
        """
        ...

    def open(self, key: str) -> BinaryIO:
        """A readable stream of the object (the caller closes it). Raises NotFound."""
        ...

    def exists(self, key: str) -> bool:
        """Whether the object is there."""
        ...

    def listing(self, folder: str) -> Iterator[Stored]:
        """Every object whose key lies under `folder` ("" for all), in no particular order.

        What is put or deleted meanwhile may be in it or not.
        """
        ...

    def delete(self, keys: Iterable[str]) -> None:
        """Remove the objects; those that are not there are no error."""
        ...

    def unfinished(self) -> Iterator[Unfinished]:
        """Every `put` that has begun and not ended, those of killed processes included."""
        ...

    def discard(self, unfinished: Unfinished) -> None:
        """Free what it takes; its `put`, if it still runs, fails with Unavailable."""
        ...

    def check(self) -> None:
        """Raise Unavailable, saying why, when the store cannot be read."""
        ...


@dataclass(frozen=True, slots=True)
class Presigned:
    """A form (`multipart/form-data`) that puts one object into the store: POST these fields, then
    the bytes as `file`, before the time is over."""

    url: str
    fields: Mapping[str, str]
    expires_at: datetime


@runtime_checkable
class DirectStore(Protocol):
    """A store that takes bytes from those who were given a signature, and from nobody else."""

    def presign(self, key: str, *, length: int, seconds: float) -> Presigned:
        """Let the bearer store `length` bytes under this key, for so long."""
        ...


class JobQueue(Protocol):
    """A doorbell: tells workers that a queue has work. The job row, not the message, is truth."""

    def announce(self, job_id: JobId, queue: QueueName) -> None:
        """Hint that a job waits. May be lost or repeated; never raises for an absent broker."""
        ...

    def check(self) -> None:
        """Raise Unavailable, saying why, when hints cannot be delivered."""
        ...
