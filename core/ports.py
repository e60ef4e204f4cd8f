"""What core needs from outside and has more than one real adapter for."""

from pathlib import Path
from typing import BinaryIO, Protocol

from core.domain.jobs import JobId, QueueName


class ObjectStore(Protocol):
    """Immutable blobs by key. Keys are spelled by `core.domain.keys` alone."""

    def put(self, key: str, source: Path) -> None:
        """Store the file; durable on return. A second `put` of a key is a no-op."""
        ...

    def open(self, key: str) -> BinaryIO:
        """A readable stream of the object (the caller closes it). Raises NotFound."""
        ...

    def exists(self, key: str) -> bool:
        """Whether the object is there."""
        ...

    def check(self) -> None:
        """Raise Unavailable, saying why, when the store cannot be read."""
        ...


class JobQueue(Protocol):
    """A doorbell: tells workers that a queue has work. The job row, not the message, is truth."""

    def announce(self, job_id: JobId, queue: QueueName) -> None:
        """Hint that a job waits. May be lost or repeated; never raises for an absent broker."""
        ...

    def check(self) -> None:
        """Raise Unavailable, saying why, when hints cannot be delivered."""
        ...
