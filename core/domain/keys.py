"""The one place that spells object keys. Keys hold a content hash or a fence: never rewritten."""

from uuid import UUID

from core.domain.jobs import JobId

TENANT = "default"
JOBS = f"{TENANT}/jobs"  # the folder of everything that attempts write


def originals(dataset_sha256: str) -> str:
    """The dataset's images as uploaded, one Parquet file."""
    return f"{TENANT}/datasets/{dataset_sha256}/originals.parquet"


def packed(dataset_sha256: str, resolution: int) -> str:
    """The dataset's images as one `uint8 [n, c, h, w]` tensor with labels and splits."""
    return f"{TENANT}/datasets/{dataset_sha256}/packed-{resolution}.safetensors"


def embedding(dataset_sha256: str, embedder: str, sha256: str) -> str:
    """The dataset as one embedder version sees it; floats differ in the last bit between machines,
    so the file's own checksum is part of the name."""
    return f"{TENANT}/datasets/{dataset_sha256}/embeddings/{embedder}-{sha256[:16]}.safetensors"


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
