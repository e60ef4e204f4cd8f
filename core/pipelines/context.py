"""What a pipeline may ask of the world around it: a store, a folder, a device, and to be heard."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from core.config import UploadLimits
from core.domain.identity import ProjectId
from core.domain.jobs import JobRecord, Progress
from core.ports import ObjectStore

if TYPE_CHECKING:  # not every job loads torch
    from core.nas.ranks import Ranks


class Stopped(Exception):
    """The job was cancelled or its worker drains, or the rest is another process's: unwind, keep
    what is checkpointed."""


@dataclass(frozen=True, slots=True)
class Restored:
    """A checkpoint that was found, fetched and verified."""

    step: int
    path: Path


class Context(Protocol):
    """One attempt at one job, seen from inside the child process that computes it."""

    @property
    def project(self) -> ProjectId:
        """Whose job it is."""
        ...

    @property
    def store(self) -> ObjectStore:
        """Where objects live."""
        ...

    @property
    def scratch(self) -> Path:
        """An empty folder of this attempt's own, gone when it ends."""
        ...

    @property
    def cache(self) -> Path:
        """A folder of this machine's that outlives attempts; what is in it can be made again."""
        ...

    @property
    def device(self) -> str:
        """The torch device to compute on."""
        ...

    @property
    def ranks(self) -> "Ranks":
        """The processes that compute this job together, and which of them this one is."""
        ...

    @property
    def halvings(self) -> int:
        """How often the batch is to be halved: the GPU ran out of memory that often."""
        ...

    @property
    def spent(self) -> float:
        """Seconds that the job has taken until now, its earlier attempts' included."""
        ...

    @property
    def resnet18_weights(self) -> Path | None:
        """A local safetensors file with ImageNet weights, when the operator gave one."""
        ...

    @property
    def upload_limits(self) -> UploadLimits:
        """What an upload may weigh."""
        ...

    def key(self, name: str) -> str:
        """The object key of a file that this attempt writes."""
        ...

    def report(self, progress: Progress, record: JobRecord | None = None) -> None:
        """Say how far the work is, and optionally one line of history. Raises Stopped."""
        ...

    def alive(self) -> None:
        """Give a sign of life: between two reports, whenever a part of the work is done.

        A job without any for long counts as hung, and its process is killed. Never raises.
        """
        ...

    def checkpoint(self, step: int, path: Path) -> None:
        """Make the file at `path` the newest state to resume from (`step` only ever grows)."""
        ...

    def restore(self) -> Restored | None:
        """The newest checkpoint whose bytes match their checksum, if any."""
        ...
