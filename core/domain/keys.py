"""The one place that spells object keys. Keys hold a content hash or a fence: never rewritten."""

import re
from uuid import UUID

from core.domain.jobs import JobId

TENANT = "default"
JOBS = f"{TENANT}/jobs"  # the folder of everything that attempts write
UPLOADS = f"{TENANT}/uploads"  # the folder of everything that came in pieces
TOKEN = re.compile(r"[0-9a-zA-Z]{1,32}")


def dataset(dataset_sha256: str) -> str:
    """The folder of everything that is stored of a dataset."""
    return f"{TENANT}/datasets/{dataset_sha256}"


def originals(dataset_sha256: str) -> str:
    """The dataset's images as uploaded, one Parquet file."""
    return f"{dataset(dataset_sha256)}/originals.parquet"


def packed(dataset_sha256: str, resolution: int) -> str:
    """The dataset's images as one `uint8 [n, c, h, w]` tensor with labels and splits."""
    return f"{dataset(dataset_sha256)}/packed-{resolution}.safetensors"


def embedding(dataset_sha256: str, embedder: str, sha256: str) -> str:
    """The dataset as one embedder version sees it; floats differ in the last bit between machines,
    so the file's own checksum is part of the name."""
    return f"{dataset(dataset_sha256)}/embeddings/{embedder}-{sha256[:16]}.safetensors"


def attempt(job_id: JobId, fence: int, name: str) -> str:
    """A file written by one attempt at a job; attempts can never overwrite one another."""
    return f"{JOBS}/{job_id}/a{fence}/{name}"


def attempt_of(key: str) -> tuple[JobId, int] | None:
    """The job and the fence of a key that `attempt` spelled; None for any other."""
    parts = key.removeprefix(f"{JOBS}/").split("/", 2)
    if len(parts) < 3:
        return None
    try:
        job_id, fence = JobId(UUID(parts[0])), int(parts[1].removeprefix("a"))
    except ValueError:
        return None
    return (job_id, fence) if attempt(job_id, fence, parts[2]) == key else None


def supernet(sha256: str) -> str:
    """A supernet that came in a file, by the file's content."""
    return f"{TENANT}/supernets/{sha256}.safetensors"


def upload(upload_id: UUID) -> str:
    """The folder of everything that came of an upload."""
    return f"{UPLOADS}/{upload_id}"


def upload_part(upload_id: UUID, start: int, token: str) -> str:
    """The bytes of an upload from `start` on, as whoever held it under this token received them:
    another who comes to the same place after a lapsed hold writes beside them, not over them."""
    if not TOKEN.fullmatch(token):
        raise ValueError("a token is 1 to 32 letters and digits")
    return f"{upload(upload_id)}/{start:020d}-{token}"


def sent_directly(upload_id: UUID) -> str:
    """The bytes of an upload as its sender put them into the store; what counts is copied from
    here, since who may write here once may do so again."""
    return f"{upload(upload_id)}/sent"
