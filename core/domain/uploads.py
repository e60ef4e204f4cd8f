"""Uploads in pieces: what has come of a file so far, and in which objects it lies."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NewType
from uuid import UUID

from core.domain.identity import ProjectId

UploadId = NewType("UploadId", UUID)


class UploadState(StrEnum):
    """How far an upload has come."""

    OPEN = "open"  # bytes are missing
    COMPLETE = "complete"  # all are there, and no job has read them
    USED = "used"  # a job was given them; others may be, for as long as they are kept


@dataclass(frozen=True, slots=True)
class Upload:
    """A file of `length` bytes, the first `received` of which are stored.

    `sha256` is what its sender says the whole file has, None when that was not said.
    """

    id: UploadId
    project_id: ProjectId
    name: str
    length: int
    received: int
    sha256: str | None
    state: UploadState
    expires_at: datetime
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Part:
    """`size` bytes of an upload from `start` on, as one object."""

    key: str
    start: int
    size: int
    sha256: str
