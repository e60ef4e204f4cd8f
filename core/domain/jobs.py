"""A job: the unit of work and of truth, and the one table of the moves it may make."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NewType
from uuid import UUID

from core.domain.identity import ProjectId

JobId = NewType("JobId", UUID)


class JobKind(StrEnum):
    """What a job does; each kind has one pipeline, but `GROUP`.

    A group is one request that became many jobs, its children. No worker takes it: it runs from
    the first moment, and the end of its last child ends it.
    """

    INGEST = "ingest"
    EMBED = "embed"
    RANK = "rank"
    PRETRAIN = "pretrain"
    SEARCH = "search"
    PRUNE = "prune"
    GROUP = "group"


class QueueName(StrEnum):
    """Which workers may take a job."""

    CPU = "cpu"
    GPU = "gpu"


QUEUE_OF: Mapping[JobKind, QueueName] = {
    JobKind.INGEST: QueueName.CPU,
    JobKind.EMBED: QueueName.CPU,
    JobKind.RANK: QueueName.CPU,
    JobKind.PRETRAIN: QueueName.GPU,
    JobKind.SEARCH: QueueName.GPU,
    JobKind.PRUNE: QueueName.GPU,
    JobKind.GROUP: QueueName.GPU,  # where its children wait
}


class JobState(StrEnum):
    """Where a job is. Intent (a cancel request) is a column of its own, never a state."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


REACHABLE_FROM: Mapping[JobState, frozenset[JobState]] = {
    JobState.RUNNING: frozenset({JobState.QUEUED}),
    JobState.QUEUED: frozenset({JobState.RUNNING}),  # a lost or drained worker gives it back
    JobState.SUCCEEDED: frozenset({JobState.RUNNING}),
    JobState.FAILED: frozenset({JobState.QUEUED, JobState.RUNNING}),
    JobState.CANCELLED: frozenset({JobState.QUEUED, JobState.RUNNING}),
}
TERMINAL: frozenset[JobState] = frozenset(JobState) - frozenset().union(*REACHABLE_FROM.values())


@dataclass(frozen=True, slots=True)
class Job:
    """A snapshot of one job row. `trace` is the traceparent of the request that made it."""

    id: JobId
    project_id: ProjectId
    kind: JobKind
    queue: QueueName
    state: JobState
    stage: str
    progress: float
    eta_seconds: float | None
    attempt: int
    max_attempts: int
    fence: int
    cancel_requested: bool
    spec: Mapping[str, Any]
    result: Mapping[str, Any] | None
    error_code: str | None
    error_message: str | None
    resume_reason: str | None
    cost_seconds: float
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    lease_owner: str | None
    lease_until: datetime | None
    dataset_id: UUID | None
    parent_id: JobId | None = None
    priority: int = 0
    trace: str | None = None

    @property
    def finished(self) -> bool:
        """Whether the job has reached a state it can never leave."""
        return self.state in TERMINAL


@dataclass(frozen=True, slots=True)
class Children:
    """How the children of a group stand: how many in each state, and all of them together."""

    counts: Mapping[JobState, int]
    progress: float
    cost_seconds: float


@dataclass(frozen=True, slots=True)
class Progress:
    """What a pipeline reports: `fraction` of the whole job done, `eta_seconds` to its end."""

    stage: str
    fraction: float
    eta_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One line of a job's history (an epoch, say), shown live and kept as evidence."""

    stage: str
    step: int
    values: Mapping[str, Any]


class LogLevel(StrEnum):
    """How much a line of a job's log matters."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a job's log, by the clock of the worker that said it; the attempts, by their
    `fence`, count theirs from 1."""

    fence: int
    number: int
    at: datetime
    level: LogLevel
    message: str


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A resumable state in the object store, believed only if its bytes match `sha256`."""

    fence: int
    step: int
    key: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class JobEvent:
    """One move of a job, append-only."""

    seq: int
    at: datetime
    from_state: JobState | None
    to_state: JobState
    fence: int
    actor: str
    reason: str
