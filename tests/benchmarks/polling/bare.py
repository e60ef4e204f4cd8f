"""The least that FastAPI can do with one row: what any route of a service like ours also does."""

import os
from datetime import datetime
from typing import Any
from uuid import UUID

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from core.db.job_tables import JobRow

URL = "HEADSTART_DATABASE_URL"


class Job(BaseModel):
    """The columns that our own view shows."""

    model_config = ConfigDict(from_attributes=True)
    id: UUID
    kind: str
    queue: str
    state: str
    stage: str
    progress: float
    eta_seconds: float | None
    attempt: int
    max_attempts: int
    fence: int
    cancel_requested: bool
    spec: dict[str, Any]
    result: dict[str, Any] | None
    error_code: str | None
    error_message: str | None
    resume_reason: str | None
    cost_seconds: float
    dataset_id: UUID | None
    parent_id: UUID | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


def create() -> FastAPI:
    """The application: one route on SQLAlchemy's own defaults."""
    engine = create_engine(os.environ[URL])
    app = FastAPI()

    @app.get("/v1/jobs/{job_id}")
    def show(job_id: UUID) -> Job:
        # Not by a dependency: its end would wait for a thread while it keeps a connection.
        with Session(engine) as session:
            return Job.model_validate(session.get(JobRow, job_id))

    return app
