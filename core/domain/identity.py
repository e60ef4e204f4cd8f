"""Who asks: projects, the keys that speak for them, and what each may do."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, NewType
from uuid import UUID

ProjectId = NewType("ProjectId", UUID)

PUBLIC: Final = ProjectId(UUID(int=0))  # what everybody may start from: the package's supernets
DEFAULT: Final = ProjectId(UUID(int=1))  # an embedded service, and all that is older than projects
LOCAL: Final = "local"  # whoever sits at the machine, where nobody is asked for a key
OPERATOR: Final = "operator"  # whoever has the database


class Scope(StrEnum):
    """What a key may do in its project; each includes those before it."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"

    def covers(self, wanted: "Scope") -> bool:
        """Whether a key of this scope may do what needs the other."""
        order = list(Scope)
        return order.index(self) >= order.index(wanted)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a project may use; None is no limit of its own.

    `active_jobs` have not ended, groups left out. `stored_bytes` are of what it brought.
    `gpu_seconds` are the seconds that its jobs of the queue `gpu` (searches, pretraining) were
    computed for, over all their attempts: each job counts once however many GPUs it has, on a CPU
    too, whole until 30 days after its end. Once they are used up, no other such job is queued;
    those that are go on.
    """

    active_jobs: int | None = None
    stored_bytes: int | None = None
    gpu_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Project:
    """Whose datasets, jobs and models they are."""

    id: ProjectId
    name: str
    limits: Limits
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is kept: its secret is known to its holder alone."""

    id: str
    project_id: ProjectId
    name: str
    scope: Scope
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class Identity:
    """In whose name a request is carried out. `key_id` is None where nobody is asked for a key."""

    project_id: ProjectId
    scope: Scope
    key_id: str | None = None

    @property
    def actor(self) -> str:
        """What the audit log calls it."""
        return self.key_id or LOCAL


AT_THE_MACHINE: Final = Identity(DEFAULT, Scope.ADMIN)
NOBODY: Final = Identity(PUBLIC, Scope.READ)  # who has shown no key, where none is asked for


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what, or was refused it."""

    id: UUID
    created_at: datetime
    project_id: ProjectId | None  # None of what is no project's; older: of unknown keys
    actor: str | None
    action: str
    target: str | None
    status: int | None  # None of a command
    request_id: str | None
    address: str | None
