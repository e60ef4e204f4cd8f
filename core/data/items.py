"""What intake reads, whatever it came in: images by name, each maybe with a label and a split."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from core.domain.datasets import Problem
from core.errors import Detail

Parts = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """One file that somebody means as an image of the dataset.

    Its label, split and group are what a table says of it; without a table its folders (`parts`)
    and its name say so.
    """

    name: str
    parts: Parts
    label: str | None = None
    split: str | None = None
    group: str | None = None


class Source(Protocol):
    """An upload that is open for reading.

    `problems` are worth telling and harm nothing; `faults` refuse the upload, together with
    everything else that is found wrong with it.
    """

    @property
    def items(self) -> Sequence[Item]:
        """In the order of the upload."""
        ...

    @property
    def problems(self) -> Sequence[Problem]:
        """What was left out or ignored, and why."""
        ...

    @property
    def faults(self) -> Sequence[Detail]:
        """Reasons to refuse the upload."""
        ...

    def read(self, index: int) -> bytes:
        """One item's bytes, whole and checked. Raises BadArchive when they contradict it."""
        ...
