"""Keys, the audit log, and who asks, as the API shows them."""

from datetime import datetime
from uuid import UUID

from api.views.shapes import View
from core.domain.identity import Scope


class KeyView(View):
    """A key, without what is secret of it."""

    id: str
    name: str
    scope: Scope
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class NewKeyView(KeyView):
    """A key with its text, this once: nothing can tell it again."""

    key: str


class AuditView(View):
    """What was done, or refused. `actor` is a key's id, `local` or `operator`."""

    id: UUID
    created_at: datetime
    actor: str | None
    action: str
    target: str | None
    status: int | None
    request_id: str | None
    address: str | None


class LimitsView(View):
    """What a project may use, by its own limits or the installation's; null is no limit.

    `active_jobs` have not ended; `stored_bytes` are of datasets, imported supernets and uploads.
    `gpu_seconds` are the seconds that searches and pretrainings were computed for, each counted
    once however many GPUs it had, until 30 days after its end.
    """

    active_jobs: int | None
    stored_bytes: int | None
    gpu_seconds: float | None


class UseView(View):
    """What it uses."""

    active_jobs: int
    stored_bytes: int
    gpu_seconds: float


class MeView(View):
    """Who asks. `key_id` is null where nobody is asked for a key."""

    project_id: UUID
    project: str
    key_id: str | None
    scope: Scope
    limits: LimitsView
    used: UseView
