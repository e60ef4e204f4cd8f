"""What a stream tells."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to a job: `id` is where to go on after the connection broke."""

    id: str | None
    event: str
    data: Any
