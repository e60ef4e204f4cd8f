"""What the service and its model process say to each other: a line of JSON, and bytes after it."""

import json
from collections.abc import Mapping
from typing import IO, Any

Frame = tuple[dict[str, Any], list[bytes]]
Part = bytes | memoryview


def spelled(head: Mapping[str, Any], *parts: Part) -> bytes:
    """One frame; parts are counted in bytes."""
    line = json.dumps({**head, "sizes": [len(part) for part in parts]})
    return b"".join((line.encode(), b"\n", *parts))


def read(stream: IO[bytes]) -> Frame | None:
    """The next; None once the other side has ended, whatever it was saying."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        return None
    head = json.loads(line)
    sizes = head.pop("sizes")
    parts = [stream.read(size) for size in sizes]
    return (head, parts) if [len(part) for part in parts] == sizes else None
