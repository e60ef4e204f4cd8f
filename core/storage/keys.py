"""Which object keys a store accepts: relative, short, and safe as both a path and an S3 key."""

from core.errors import InvalidInput

MAX_KEY_BYTES = 900  # S3 allows 1024 with the bucket's own overhead in some stores
MAX_SEGMENT_BYTES = 200  # a file name is at most 255 bytes on the usual file systems
PARTIAL = ".partial-"  # how the local store names files that are still being written


def checked(key: str) -> str:
    """The key itself, if every store can hold it; else InvalidInput."""
    segments = key.split("/")
    fault = _fault(key) or next(filter(None, map(_segment_fault, segments)), None)
    if fault is not None:
        raise InvalidInput(f"The object key {key[:80]!r} {fault}.", code="invalid_key")
    return key


def _fault(key: str) -> str | None:
    if not key.isprintable():  # control characters, NUL, lone surrogates
        return "has characters that cannot be printed"
    if len(key.encode()) > MAX_KEY_BYTES:
        return f"is longer than {MAX_KEY_BYTES} bytes"
    return None


def _segment_fault(segment: str) -> str | None:
    if segment in {"", ".", ".."}:
        return "must be relative, without empty, '.' or '..' parts"
    if "\\" in segment:
        return "has a backslash"
    if len(segment.encode()) > MAX_SEGMENT_BYTES:
        return f"has a part longer than {MAX_SEGMENT_BYTES} bytes"
    if segment.startswith(PARTIAL):
        return f"has a part that begins with '{PARTIAL}'"
    return None
