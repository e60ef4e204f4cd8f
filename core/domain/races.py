"""What earlier races for a start have shown, for later searches to learn from."""

from dataclasses import dataclass

from core.domain.datasets import DatasetId
from core.domain.searches import SearchId
from core.domain.supernets import SupernetId


@dataclass(frozen=True, slots=True)
class Lead:
    """By how many accuracy points a supernet answered a target's validation images better than a
    cold start, before any step of either; `distance` is that of its dataset, where it has one."""

    supernet_id: SupernetId
    distance: float | None
    points: float


@dataclass(frozen=True, slots=True)
class PastRace:
    """The leads that one finished search has measured on its dataset."""

    search_id: SearchId
    dataset_id: DatasetId
    leads: tuple[Lead, ...]
