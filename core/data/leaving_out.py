"""An upload without some of its images, which were chosen by their places in it."""

from collections.abc import Collection, Sequence

from core.data.items import Item, Source
from core.domain.datasets import Problem
from core.errors import Detail, InvalidInput


class Without:
    """A source as if these images had never been in it; it tells of every one."""

    def __init__(self, source: Source, places: Collection[int]) -> None:
        if (last := max(places, default=-1)) >= len(source.items):
            words = f"There are images 0 to {len(source.items) - 1}, and no {last}."
            raise InvalidInput(words, code="unknown_image")
        left_out = set(places)
        self._source = source
        self._kept = [place for place in range(len(source.items)) if place not in left_out]
        self.items: Sequence[Item] = [source.items[place] for place in self._kept]
        words = "It was left out of this version by choice."
        self.problems: Sequence[Problem] = (
            *source.problems,
            *(
                Problem("error", "chosen_out", source.items[place].name, words)
                for place in sorted(left_out)
            ),
        )
        self.faults: Sequence[Detail] = source.faults

    def read(self, index: int) -> bytes:
        """The image's bytes."""
        return self._source.read(self._kept[index])
