"""A worker's sign of life: a small file in its home, written anew in every round of its loop."""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from core.domain.jobs import QueueName

NAME = "worker-beat.json"


@dataclass(frozen=True, slots=True)
class Beat:
    """That the loop went round, and whether a slot had looked and found nothing more to do."""

    at: float  # by the machine's own monotonic clock, which all its processes share
    queues: tuple[QueueName, ...]
    idle: bool

    @classmethod
    def now(cls, queues: Sequence[QueueName], *, idle: bool) -> Self:
        """The beat of this moment."""
        return cls(time.monotonic(), tuple(queues), idle)

    @classmethod
    def read(cls, home: Path) -> Self | None:
        """The last beat, or None if there is none to be read."""
        try:
            found = json.loads((home / NAME).read_text())
            queues = tuple(QueueName(name) for name in found["queues"])
            return cls(float(found["at"]), queues, bool(found["idle"]))
        except (OSError, ValueError, LookupError, TypeError):
            return None

    @property
    def age(self) -> float:
        """Seconds since; negative for one from before the machine last started."""
        return time.monotonic() - self.at

    def write(self, home: Path) -> None:
        """Replace the last one, at once or not at all."""
        home.mkdir(parents=True, exist_ok=True)
        path = home / NAME
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps({"at": self.at, "queues": self.queues, "idle": self.idle}))
        partial.replace(path)
