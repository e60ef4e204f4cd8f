"""What a model confuses, as its page shows it: the heaviest pairs, and every class by itself."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from api.web.metrics import mapping, number, sequence
from core.domain.accuracy import wilson
from core.domain.datasets import Dataset
from core.domain.searches import Model

Counts = NDArray[np.int64]

NOTHING: Counts = np.empty((0, 0), dtype=np.int64)
MOST_PAIRS, MOST_IMAGES, MOST_CLASSES = 12, 3, 40


@dataclass(frozen=True, slots=True)
class Confused:
    """`count` of the `total` test images of the class `true` were taken for `predicted`; `images`
    are addresses of some."""

    true: str
    predicted: str
    count: int
    total: int
    images: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ClassRow:
    """How a model does on one class; a share that is of nothing is None."""

    name: str
    images: int
    recall: float | None
    interval: tuple[float, float]
    precision: float | None
    f1: float | None
    taken_for: str
    mistaken: int


def matrix(model: Model) -> Counts:
    """The retrained network's confusion matrix, true classes in rows; empty unless it is one."""
    rows = mapping(model.metrics.get("retrained")).get("confusion")
    try:
        found = np.array(rows, dtype=np.float64)
    except (TypeError, ValueError):
        found = np.empty((0, 0))
    square = found.ndim == 2 and found.shape[0] == found.shape[1]
    return found.astype(np.int64) if square and np.isfinite(found).all() else NOTHING


def heaviest(model: Model, dataset: Dataset, counts: Counts) -> list[Confused]:
    """The most frequent confusions, by falling count; images only of models that name them and of
    datasets that still have them."""
    names, images = class_names(dataset, len(counts)), _images(model, dataset)
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_PAIRS].tolist()
    pairs = [divmod(at, len(counts)) for at in order if wrong.flat[at]]
    return [
        Confused(
            true=names[true],
            predicted=names[predicted],
            count=int(wrong[true, predicted]),
            total=int(counts[true].sum()),
            images=images.get((true, predicted), ()),
        )
        for true, predicted in pairs
    ]


def by_class(dataset: Dataset, counts: Counts) -> list[ClassRow]:
    """Every class, those that the model recognises worst first."""
    names, answered = class_names(dataset, len(counts)), counts.sum(axis=0).tolist()
    rows = [_row(at, row, names, answered[at]) for at, row in enumerate(counts)]
    return sorted(rows, key=lambda each: 2.0 if each.recall is None else each.recall)


def class_names(dataset: Dataset, count: int) -> Sequence[str]:
    """Of as many classes: by their places where the names went with the dataset."""
    return dataset.classes if len(dataset.classes) == count else tuple(map(str, range(count)))


def _row(at: int, row: Counts, names: Sequence[str], answered: int) -> ClassRow:
    hits, total = int(row[at]), int(row.sum())
    others = row.copy()
    others[at] = 0
    rival = int(others.argmax())
    recall = hits / total if total else None
    return ClassRow(
        name=names[at],
        images=total,
        recall=recall,
        interval=wilson(recall or 0.0, total),
        precision=hits / answered if answered else None,
        f1=2 * hits / (total + answered) if total + answered else None,
        taken_for=names[rival],
        mistaken=int(others[rival]),
    )


def _images(model: Model, dataset: Dataset) -> dict[tuple[int, int], tuple[str, ...]]:
    if dataset.deleted_at is not None:
        return {}
    confused = mapping(model.metrics.get("retrained")).get("confused")
    return {
        (each["true"], each["predicted"]): tuple(_addresses(dataset, each.get("images")))
        for each in map(mapping, sequence(confused))
        if isinstance(each.get("true"), int) and isinstance(each.get("predicted"), int)
    }


def _addresses(dataset: Dataset, places: object) -> Iterator[str]:
    for place in sequence(places)[:MOST_IMAGES]:
        if number(place) is not None:
            yield f"/v1/datasets/{dataset.id}/images/{place:.0f}.png?split=test"
