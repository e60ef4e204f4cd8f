"""What a supervisor and its child say to each other: one envelope in, then events out, as JSON.

Standard input carries the envelope as its first line and stays open for as long as the supervisor
lives; its end tells the child that it is alone. Secrets travel here, never in arguments or the
environment, where other processes could read them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.config import S3Storage, Settings
from core.domain.identity import ProjectId
from core.domain.jobs import Checkpoint, JobId, JobKind, JobRecord, LogLevel, Progress
from core.domain.work import (
    EmbedInputs,
    EmbedOutcome,
    IngestInputs,
    IngestOutcome,
    PretrainInputs,
    PretrainOutcome,
    PruneInputs,
    PruneOutcome,
    RankInputs,
    RankOutcome,
    SearchInputs,
    SearchOutcome,
)
from core.services import wire

INPUTS_OF: Mapping[JobKind, Any] = {
    JobKind.INGEST: IngestInputs,
    JobKind.EMBED: EmbedInputs,
    JobKind.RANK: RankInputs,
    JobKind.PRETRAIN: PretrainInputs,
    JobKind.SEARCH: SearchInputs,
    JobKind.PRUNE: PruneInputs,
}
OUTCOME_OF: Mapping[JobKind, Any] = {
    JobKind.INGEST: IngestOutcome,
    JobKind.EMBED: EmbedOutcome,
    JobKind.RANK: RankOutcome,
    JobKind.PRETRAIN: PretrainOutcome,
    JobKind.SEARCH: SearchOutcome,
    JobKind.PRUNE: PruneOutcome,
}


@dataclass(frozen=True, slots=True)
class Envelope:
    """Everything a child needs to compute one attempt; `inputs` is read by `kind`.

    `halvings` counts the attempts that ended for want of GPU memory. The job's seconds, earlier
    attempts' included, are `counted_from` there on the machine's monotonic clock. Where several
    `processes` compute the job, each has an envelope with its own `rank`, in which the first one
    stands for the supervisor.
    """

    project_id: ProjectId
    job_id: JobId
    kind: JobKind
    fence: int
    attempt: int
    inputs: Any
    checkpoints: tuple[Checkpoint, ...]
    settings: Mapping[str, Any]
    threads: int
    device: str
    scratch: str
    supervisor: int  # its process id
    halvings: int = 0
    counted_from: float = 0.0
    processes: int = 1
    rank: int = 0


@dataclass(frozen=True, slots=True)
class Reported:
    """The pipeline said how far it is."""

    progress: Progress
    record: JobRecord | None


@dataclass(frozen=True, slots=True)
class Alive:
    """The computation goes on: said by the thread that computes, so that a hung one is silent."""


@dataclass(frozen=True, slots=True)
class Said:
    """A library warned of something."""

    level: LogLevel
    message: str


@dataclass(frozen=True, slots=True)
class Checkpointed:
    """A state to resume from is in the store."""

    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True)
class Resumed:
    """The pipeline asked where to begin: at `step`, or from the start when that is None."""

    step: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The pipeline returned; `outcome` is read by the job's kind."""

    outcome: Any


@dataclass(frozen=True, slots=True)
class Failed:
    """The pipeline raised. `trace` is for the log alone."""

    code: str
    message: str
    trace: str = ""


@dataclass(frozen=True, slots=True)
class Halted:
    """The pipeline unwound because it was asked to stop."""


@dataclass(frozen=True, slots=True)
class Exited:
    """The child is gone, and this was the most memory it held at once.

    Said by the supervisor's own side, never on the wire.
    """

    status: int
    peak_bytes: int = 0


Event = Reported | Alive | Said | Checkpointed | Resumed | Finished | Failed | Halted | Exited
_EVENTS: Mapping[str, Any] = {
    kind.__name__: kind
    for kind in (Reported, Alive, Said, Checkpointed, Resumed, Finished, Failed, Halted)
}


def encode(event: Event) -> bytes:
    """One line; a number that JSON cannot hold (NaN, say) becomes null."""
    body = {"event": type(event).__name__, "body": wire.dump(event)}
    return json.dumps(body, allow_nan=False).encode() + b"\n"


def decode(line: bytes) -> Event:
    """The event of one line. Raises ValueError (KeyError for an unknown kind)."""
    said = json.loads(line)
    event: Event = wire.load(_EVENTS[said["event"]], said["body"])
    return event


def seal(envelope: Envelope) -> bytes:
    """The envelope as one line."""
    return json.dumps(wire.dump(envelope), allow_nan=False).encode() + b"\n"


def unseal(line: bytes) -> Envelope:
    """The envelope of one line. Raises ValueError."""
    envelope: Envelope = wire.load(Envelope, json.loads(line))
    return envelope


def portable(settings: Settings) -> dict[str, Any]:
    """The settings a child needs, with the storage secrets in the clear."""
    needed = settings.model_dump(mode="json", include={"storage", "resnet18_weights", "uploads"})
    if isinstance(settings.storage, S3Storage):
        for name in ("access_key", "secret_key"):
            secret = getattr(settings.storage, name)
            needed["storage"][name] = secret and secret.get_secret_value()
    return needed | {"home": str(settings.home.absolute())}
