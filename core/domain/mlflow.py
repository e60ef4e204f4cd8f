"""A search that has ended, as MLflow calls things: a run with tags, parameters and metrics."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from core.domain.jobs import JobState
from core.domain.searches import Artifact, SearchId

SEARCH_TAG: Final = "headstart.search_id"  # what a run is found again by
STATUS: Final[Mapping[JobState, str]] = {
    JobState.SUCCEEDED: "FINISHED",
    JobState.FAILED: "FAILED",
    JobState.CANCELLED: "KILLED",
}
# Between one attempt and the next; the last is repeated for ever.
DELAYS: Final = (60.0, 300.0, 900.0, 3_600.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """One number at one step, and when it was measured."""

    key: str
    value: float
    at: datetime
    step: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """All that is told of one search. Said again it is the same, to the millisecond."""

    search_id: SearchId
    name: str
    status: str
    started_at: datetime
    ended_at: datetime
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: tuple[Metric, ...]
    artifacts: tuple[Artifact, ...]


def next_delay(failures: int, *, luck: float) -> float:
    """Seconds until the attempt after so many that came to nothing; `luck` (0 to 1) spreads it."""
    return DELAYS[min(failures, len(DELAYS)) - 1] * (0.5 + luck)
