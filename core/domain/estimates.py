"""What a search will probably take, told before it is asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from core.domain.datasets import DatasetId


@dataclass(frozen=True, slots=True)
class Interval:
    """What is expected, and where four of five lie: a tenth below `low`, a tenth above `high`."""

    expected: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Start:
    """A supernet that the search may begin from, in the order in which they are tried; without an
    id a cold start. `lead` are accuracy points over cold at the start, where there is history
    enough to tell."""

    supernet_id: UUID | None
    name: str
    dataset_name: str | None = None
    lead: Interval | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """What will be tried: searches of so many epochs, one for each rate, and a retraining.

    `space` and `resolution` are those of a cold start; a warm one brings its own unless `adapt`
    is asked for, and this estimate is then that of the first.
    """

    policy: str
    starts: tuple[Start, ...]
    method: str
    space: Mapping[str, Any]
    resolution: int
    batch_size: int
    steps_per_epoch: int
    learning_rates: tuple[float, ...]
    epochs: int
    retrain_epochs: int
    selection: str


@dataclass(frozen=True, slots=True)
class Saving:
    """What warm starts were worth in finished searches here.

    `won` of so many `races` went to a supernet; `points` are by how much the best of them led a
    cold start before any step. `seconds` of searching are what a warm start saves this search
    by ending it earlier, of which its retraining is given about half; they are None where it may
    not end early, and with fewer than three searches of either kind.
    """

    races: int
    won: int
    points: Interval | None
    seconds: Interval | None


@dataclass(frozen=True, slots=True)
class Basis:
    """On what an estimate rests: so many finished `searches` on such a `device`."""

    searches: int
    device: str

    @property
    def model(self) -> str:
        """What the model of cost was calibrated by."""
        return "finished searches" if self.searches else "reference machine"


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds of computing, the wait in the queue not included, and bytes at the peak.

    `gpu_seconds` and `gpu_bytes` are zero where the workers compute on CPUs. `least_seconds` is
    the smallest budget that leads to a model.
    """

    dataset_id: DatasetId
    seconds: Interval
    gpu_seconds: Interval
    host_bytes: Interval
    gpu_bytes: Interval
    least_seconds: Interval
    saving: Saving
    trial: Trial
    basis: Basis
