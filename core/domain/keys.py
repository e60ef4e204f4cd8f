"""The one place that spells object keys. Keys hold a content hash or a fence: never rewritten.

Each project has a folder of its own, so that what one deletes is nobody else's. Rows keep the keys
they were registered with: a supernet that has become public since may lie elsewhere.
"""

import re
from typing import Final
from uuid import UUID

from core.domain.identity import DEFAULT, PUBLIC, ProjectId
from core.domain.jobs import JobId

NAMED: Final = {PUBLIC: "public", DEFAULT: "default"}
TOKEN = re.compile(r"[0-9a-zA-Z]{1,32}")


def folder(project: ProjectId) -> str:
    """Where everything of a project lies."""
    return NAMED.get(project, project.hex)


def jobs(project: ProjectId) -> str:
    """The folder of everything that a project's attempts write."""
    return f"{folder(project)}/jobs"


def uploads(project: ProjectId) -> str:
    """The folder of everything that came to a project in pieces."""
    return f"{folder(project)}/uploads"


def dataset(project: ProjectId, dataset_sha256: str) -> str:
    """The folder of everything that is stored of a dataset."""
    return f"{folder(project)}/datasets/{dataset_sha256}"


def originals(project: ProjectId, dataset_sha256: str) -> str:
    """The dataset's images as uploaded, one Parquet file."""
    return f"{dataset(project, dataset_sha256)}/originals.parquet"


def packed(project: ProjectId, dataset_sha256: str, resolution: int) -> str:
    """The dataset's images as one `uint8 [n, c, h, w]` tensor with labels and splits."""
    return f"{dataset(project, dataset_sha256)}/packed-{resolution}.safetensors"


def embedding(project: ProjectId, dataset_sha256: str, embedder: str, sha256: str) -> str:
    """The dataset as one embedder version sees it; floats differ in the last bit between machines,
    so the file's own checksum is part of the name."""
    return f"{dataset(project, dataset_sha256)}/embeddings/{embedder}-{sha256[:16]}.safetensors"


def attempt(project: ProjectId, job_id: JobId, fence: int, name: str) -> str:
    """A file written by one attempt at a job; attempts can never overwrite one another."""
    return f"{jobs(project)}/{job_id}/a{fence}/{name}"


def attempt_of(key: str) -> tuple[JobId, int] | None:
    """The job and the fence of a key that `attempt` spelled; None for any other."""
    parts = key.split("/", 4)
    if len(parts) < 5:
        return None
    try:
        job_id, fence = JobId(UUID(parts[2])), int(parts[3].removeprefix("a"))
    except ValueError:
        return None
    spelled = f"{parts[0]}/jobs/{job_id}/a{fence}/{parts[4]}"
    return (job_id, fence) if spelled == key else None


def supernet(project: ProjectId, sha256: str) -> str:
    """A supernet that came in a file, by the file's content."""
    return f"{folder(project)}/supernets/{sha256}.safetensors"


def upload(project: ProjectId, upload_id: UUID) -> str:
    """The folder of everything that came of an upload."""
    return f"{uploads(project)}/{upload_id}"


def upload_part(project: ProjectId, upload_id: UUID, start: int, token: str) -> str:
    """The bytes of an upload from `start` on, as whoever held it under this token received them:
    another who comes to the same place after a lapsed hold writes beside them, not over them."""
    if not TOKEN.fullmatch(token):
        raise ValueError("a token is 1 to 32 letters and digits")
    return f"{upload(project, upload_id)}/{start:020d}-{token}"


def sent_directly(project: ProjectId, upload_id: UUID) -> str:
    """The bytes of an upload as its sender put them into the store; what counts is copied from
    here, since who may write here once may do so again."""
    return f"{upload(project, upload_id)}/sent"
