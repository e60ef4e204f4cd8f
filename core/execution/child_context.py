"""What a pipeline sees of the world from inside the child process (`core.pipelines.context`)."""

import hashlib
import os
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from core import crash_points
from core.config import Settings, UploadLimits
from core.domain import keys
from core.domain.identity import ProjectId
from core.domain.jobs import Checkpoint, JobRecord, Progress
from core.errors import CorruptObject, NotFound
from core.execution import compute, process_group, protocol
from core.pipelines.context import Restored, Stopped
from core.ports import ObjectStore
from core.storage.select import store_of

if TYPE_CHECKING:
    from core.nas.ranks import Ranks

REPORT_SECONDS = 0.2  # what is said often is passed on no more often than this
CHUNK_BYTES = 1024 * 1024


class ChildContext:
    """One attempt at one job: tells its supervisor what happens and keeps its checkpoints."""

    def __init__(
        self, envelope: protocol.Envelope, *, say: Callable[[protocol.Event], None]
    ) -> None:
        self._envelope = envelope
        self._say = say
        self._settings = Settings(**envelope.settings)
        self._stopping = False
        self._last_step = -1
        self._last_report = self._last_sign = 0.0
        self._stage = ""

    @property
    def project(self) -> ProjectId:
        """Whose job it is."""
        return self._envelope.project_id

    @cached_property
    def store(self) -> ObjectStore:
        """Where objects live."""
        return store_of(self._settings)

    @property
    def scratch(self) -> Path:
        """An empty folder of this attempt's own, gone when it ends."""
        return Path(self._envelope.scratch)

    @property
    def cache(self) -> Path:
        """A folder of this machine's that outlives attempts; what is in it can be made again."""
        return self._settings.home / "cache"

    @cached_property
    def device(self) -> str:
        """The torch device to compute on."""
        return compute.device(self._envelope.device)

    @cached_property
    def ranks(self) -> "Ranks":
        """The processes that compute this job together; waits until all of them have asked."""
        return process_group.join(
            rank=self._envelope.rank,
            size=self._envelope.processes,
            device=self.device,
            folder=Path(self._envelope.scratch),
        )

    @property
    def halvings(self) -> int:
        """How often the batch is to be halved, as it has not fit before."""
        return self._envelope.halvings

    @property
    def spent(self) -> float:
        """Seconds that the job has taken until now, its earlier attempts' included."""
        return time.monotonic() - self._envelope.counted_from

    @property
    def resnet18_weights(self) -> Path | None:
        """A local safetensors file with ImageNet weights, when the operator gave one."""
        return self._settings.resnet18_weights

    @property
    def upload_limits(self) -> UploadLimits:
        """What an upload may weigh."""
        return self._settings.uploads

    def key(self, name: str) -> str:
        """The object key of a file that this attempt writes."""
        envelope = self._envelope
        return keys.attempt(envelope.project_id, envelope.job_id, envelope.fence, name)

    def stop(self) -> None:
        """Let the next report raise Stopped (called from the signal handler: a flag only)."""
        self._stopping = True

    def report(self, progress: Progress, record: JobRecord | None = None) -> None:
        """Say how far the work is, and optionally one line of history. Raises Stopped."""
        now = time.monotonic()
        news = record is not None or progress.stage != self._stage
        if news or now - self._last_report >= REPORT_SECONDS:
            self._last_report = self._last_sign = now
            self._stage = progress.stage
            self._say(protocol.Reported(progress, record))
        if self._stopping:
            raise Stopped

    def alive(self) -> None:
        """Give a sign of life, from the thread that computes; it costs little."""
        now = time.monotonic()
        if now - self._last_sign >= REPORT_SECONDS:
            self._last_sign = now
            self._say(protocol.Alive())

    def checkpoint(self, step: int, path: Path) -> None:
        """Make the file at `path` the newest state to resume from (`step` only ever grows)."""
        if step <= self._last_step:
            raise ValueError(f"checkpoint {step} after checkpoint {self._last_step}")
        with path.open("rb") as file:
            os.fsync(file.fileno())
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        key = self.key(f"checkpoints/{step}{path.suffix}")
        crash_points.reach("before_checkpoint_put")
        self.store.put(key, path)
        crash_points.reach("after_checkpoint_put")
        self._last_step = step
        size = path.stat().st_size
        self._say(protocol.Checkpointed(Checkpoint(self._envelope.fence, step, key, sha256, size)))

    def restore(self) -> Restored | None:
        """The newest checkpoint that is whole: its bytes match their checksum and can be read."""
        unusable = 0
        for checkpoint in self._envelope.checkpoints:
            path = self.scratch / f"restored-{checkpoint.step}{Path(checkpoint.key).suffix}"
            if self._fetch(checkpoint, path):
                self._last_step = checkpoint.step
                reason = "newest" if not unusable else f"{unusable} newer unreadable"
                self._say(protocol.Resumed(checkpoint.step, reason))
                crash_points.reach("after_restore")
                return Restored(checkpoint.step, path)
            unusable += 1
        if self._envelope.attempt > 1 or unusable:
            reason = f"{unusable} unreadable" if unusable else "no checkpoint yet"
            self._say(protocol.Resumed(None, reason))
        return None

    def _fetch(self, checkpoint: Checkpoint, path: Path) -> bool:
        digest = hashlib.sha256()
        try:
            with self.store.open(checkpoint.key) as source, path.open("wb") as target:
                while chunk := source.read(CHUNK_BYTES):
                    digest.update(chunk)
                    target.write(chunk)
        except (NotFound, CorruptObject):  # some stores find out by themselves
            whole = False
        else:
            whole = digest.hexdigest() == checkpoint.sha256 and _is_readable(path)
        if not whole:
            path.unlink(missing_ok=True)
        return whole


class FollowerContext(ChildContext):
    """The same attempt in a process that computes along: the first speaks for it, and it for none.

    It is not asked to stop either: when the first does, all end.
    """

    @cached_property
    def scratch(self) -> Path:
        """A folder of this process's own, within the attempt's."""
        folder = super().scratch / f"rank-{self._envelope.rank}"
        folder.mkdir()
        return folder

    def report(self, progress: Progress, record: JobRecord | None = None) -> None:
        """Say nothing."""

    def alive(self) -> None:
        """Say nothing: if this process hangs, the first waits for it, and is silent too."""

    def checkpoint(self, step: int, path: Path) -> None:
        """Keep nothing."""

    def restore(self) -> Restored | None:
        """Nothing: the first tells what it has found."""
        return None


def _is_readable(path: Path) -> bool:
    """False for a tensor file whose header and length do not agree; other files are not judged.

    Its checksum may still match: it was taken of the file as it was written, cut short or not.
    """
    if path.suffix != ".safetensors":
        return True
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np"):
            return True
    except SafetensorError:
        return False
