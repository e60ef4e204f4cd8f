"""Jobs as the API shows them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field

from api.codes import JOB_CODES
from api.views.shapes import FreeForm, View
from api.views.stored import Result
from core.domain.jobs import Children, Job, JobId, JobKind, JobState, LogLevel, QueueName
from core.services import fanout

RUNNING_POLL_MS, QUEUED_POLL_MS = 1_000, 2_000
ENDS = f"A code of problems (an archive's, say), or one of {', '.join(JOB_CODES)}."
NONE: Mapping[JobId, Children] = {}


class JobView(View):
    """A job as it stands, and when to look again."""

    id: UUID
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
    spec: Annotated[FreeForm, Field(description="What was asked, with all that it left out.")]
    result: Result | None
    error_code: Annotated[str | None, Field(description=ENDS)]
    error_message: str | None
    resume_reason: str | None
    cost_seconds: float
    dataset_id: UUID | None
    parent_id: UUID | None
    priority: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    poll_after_ms: int | None = None
    children: dict[JobState, int] | None = None

    @classmethod
    def of(cls, job: Job, standing: Mapping[JobId, Children] = NONE) -> "JobView":
        """The job, with a hint of when polling it again can tell something new.

        `standing` is how the children of groups stand: how many are in each state.
        """
        view = cls.model_validate(fanout.shown(job, standing))
        view.poll_after_ms = poll_after_ms(job)
        if job.id in standing:
            counts = standing[job.id].counts
            view.children = {state: counts.get(state, 0) for state in JobState}
        return view


def poll_after_ms(job: Job) -> int | None:
    """Milliseconds until asking again makes sense; None when the job has ended."""
    if job.finished:
        return None
    return RUNNING_POLL_MS if job.state is JobState.RUNNING else QUEUED_POLL_MS


class RecordView(View):
    """One line of a job's history."""

    stage: str
    step: int
    values: FreeForm


class LogLineView(View):
    """One line of a job's log; an attempt, named by its `fence`, counts its lines."""

    fence: int
    number: int
    at: datetime
    level: LogLevel
    message: str


class EventView(View):
    """One move of a job."""

    seq: int
    at: datetime
    from_state: JobState | None
    to_state: JobState
    fence: int
    actor: str
    reason: str
