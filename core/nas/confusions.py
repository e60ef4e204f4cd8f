"""Which classes a model takes for which, with the images it was surest about."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from torch import Tensor

from core.nas.evaluate import Evaluation

MOST_PAIRS, MOST_IMAGES = 200, 3


@dataclass(frozen=True, slots=True)
class Confusion:
    """Images of the class `true` that were taken for `predicted`.

    Args:
        true: Label.
        predicted: What the model answered instead.
        count: How many there are.
        images: Places of some of them, those with the most certain answers first.
    """

    true: int
    predicted: int
    count: int
    images: tuple[int, ...]


def heaviest(
    labels: Tensor, found: Evaluation, *, pairs: int = MOST_PAIRS, images: int = MOST_IMAGES
) -> list[Confusion]:
    """The most frequent confusions, by falling count.

    Args:
        labels: ``[N]`` int64, of the images that were evaluated, in their order.
        found: How a model did on them.
        pairs: Confusions at most.
        images: Places of each at most.
    """
    labels = labels.cpu()
    wrong = (found.answers != labels).nonzero().flatten()
    surest = wrong[found.certainties[wrong].argsort(descending=True, stable=True)]
    places: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for at, true, predicted in zip(
        surest.tolist(), labels[surest].tolist(), found.answers[surest].tolist(), strict=True
    ):
        places[true, predicted].append(at)
    order = sorted(places.items(), key=lambda each: (-len(each[1]), each[0]))
    return [Confusion(*pair, len(at), tuple(at[:images])) for pair, at in order[:pairs]]
