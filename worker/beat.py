"""A worker's sign of life: a small file in its home, written anew in every round of its loop."""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from core.domain.jobs import QueueName

NAME = "worker-beat.json"
OF_FLEET = "worker-beat-{}.json"  # of one worker of several in a home, by its place


@dataclass(frozen=True, slots=True)
class Beat:
    """That the loop went round, and whether a slot had looked and found nothing more to do.

    One that is `quarantined` has lost its GPU and claims no GPU job.
    """

    at: float  # by the machine's own monotonic clock, which all its processes share
    queues: tuple[QueueName, ...]
    idle: bool
    quarantined: bool = False

    @classmethod
    def now(cls, queues: Sequence[QueueName], *, idle: bool, quarantined: bool = False) -> Self:
        """The beat of this moment."""
        return cls(time.monotonic(), tuple(queues), idle, quarantined)

    @classmethod
    def read(cls, home: Path, place: int | None = None) -> Self | None:
        """The last beat, or None if there is none to be read."""
        try:
            found = json.loads((home / name_of(place)).read_text())
            queues = tuple(QueueName(name) for name in found["queues"])
            states = bool(found["idle"]), bool(found["quarantined"])
            return cls(float(found["at"]), queues, *states)
        except (OSError, ValueError, LookupError, TypeError):
            return None

    @property
    def age(self) -> float:
        """Seconds since; negative for one from before the machine last started."""
        return time.monotonic() - self.at

    def write(self, home: Path, place: int | None = None) -> None:
        """Replace the last one, at once or not at all."""
        home.mkdir(parents=True, exist_ok=True)
        path = home / name_of(place)
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(asdict(self)))
        partial.replace(path)


def name_of(place: int | None) -> str:
    """The file of a home's one worker, or of the one at that place in its fleet."""
    return NAME if place is None else OF_FLEET.format(place)


def expect(home: Path, places: Sequence[int]) -> None:
    """Make these the fleet of the home, none of whom has begun; no places for one worker alone."""
    home.mkdir(parents=True, exist_ok=True)
    for path in home.glob(OF_FLEET.format("*")):
        path.unlink(missing_ok=True)
    for place in places:
        (home / name_of(place)).touch()


def places(home: Path) -> tuple[int | None, ...]:
    """The places of the home's fleet; of one worker without a place if there is no fleet."""
    found = sorted(path.stem.rpartition("-")[2] for path in home.glob(OF_FLEET.format("*")))
    return tuple(int(place) for place in found if place.isdecimal()) or (None,)
