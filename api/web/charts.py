"""From domain objects to pictures, marked as safe to put into a page unescaped."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from markupsafe import Markup

from api.web import metrics, words
from core.domain.datasets import Dataset, Neighbour, Ranking
from core.domain.jobs import JobRecord
from core.domain.searches import Model, Search
from core.pictures.bars import Bar, draw_bars
from core.pictures.cells import draw_cell
from core.pictures.curves import Series, draw_curves
from core.pictures.matrices import draw_matrix

ACCURACY = (0.0, 1.0)


def class_counts(dataset: Dataset) -> Markup:
    """Images per class, train and test."""
    rows = zip(dataset.classes, dataset.train_counts, dataset.test_counts, strict=True)
    bars = [Bar(name, (float(train), float(test))) for name, train, test in rows]
    title = f"Images per class of {dataset.name}"
    return Markup(draw_bars(bars, title=title, unit="images", parts=("train", "test")))


def distances(ranking: Ranking) -> Markup:
    """Sources by distance, with their intervals."""
    bars = [Bar(each.dataset_name, (each.distance,), each.interval) for each in ranking.neighbours]
    return Markup(draw_bars(bars, title="Distance to each source", unit="dataset distance (OTDD)"))


def coupling(neighbour: Neighbour) -> Markup | None:
    """Which classes of the target lie near which classes of the source."""
    rows = list(dict.fromkeys(target for target, _, _ in neighbour.coupling))
    columns = list(dict.fromkeys(source for _, source, _ in neighbour.coupling))
    if not rows:
        return None
    masses = {(target, source): mass for target, source, mass in neighbour.coupling}
    values = [[masses.get((row, column), 0.0) for column in columns] for row in rows]
    title = f"Class-to-class coupling with {neighbour.dataset_name}"
    return Markup(
        draw_matrix(
            values,
            rows=rows,
            columns=columns,
            title=title,
            row_label="this dataset",
            column_label=neighbour.dataset_name,
        )
    )


def live_curves(records: Sequence[JobRecord], rates: Sequence[Any] = ()) -> list[Markup]:
    """A job's accuracies and losses so far, a line per stage and, if several, learning rate."""
    ordered = sorted(records, key=lambda record: (record.stage, record.step))
    stages = {
        stage: [{"epoch": record.step} | dict(record.values) for record in lines]
        for stage, lines in groupby(ordered, key=lambda record: record.stage)
    }
    pictures = []
    for title, keys, y_range in (
        ("Accuracy", ("train_accuracy", "valid_accuracy", "test_accuracy"), ACCURACY),
        ("Loss", ("train_loss", "valid_loss"), None),
    ):
        lines = [
            line
            for stage, rows in stages.items()
            for key in keys
            if (line := metrics.series(f"{words.stage(stage, rates)}: {_said(key)}", rows, key)).xs
        ]
        if lines:
            picture = draw_curves(
                lines, title=title, x_label="epoch", y_label=title.lower(), y_range=y_range
            )
            pictures.append(Markup(picture))
    return pictures


def cells(model: Model) -> list[tuple[str, Markup]]:
    """The normal and the reduction cell."""
    found = []
    for key, name in (("normal", "Normal cell"), ("reduction", "Reduction cell")):
        nodes = metrics.cell(model.genotype, key)
        if nodes:
            found.append((name, Markup(draw_cell(nodes, title=name))))
    return found


def confusion(model: Model, dataset: Dataset) -> Markup | None:
    """The retrained network's mistakes on the test split."""
    values = metrics.confusion(model)
    if not values:
        return None
    return Markup(
        draw_matrix(
            values,
            rows=dataset.classes,
            columns=dataset.classes,
            title="Confusion matrix of the retrained network on the test split",
            row_label="true class",
            column_label="predicted class",
        )
    )


def training(model: Model) -> list[Markup]:
    """The chosen arm's accuracies and losses by epoch."""
    rows = metrics.history(model)
    accuracy = [
        metrics.series(_said(key), rows, key) for key in ("train_accuracy", "valid_accuracy")
    ]
    loss = [metrics.series(_said(key), rows, key) for key in ("train_loss", "valid_loss")]
    return [
        Markup(
            draw_curves(
                _drawn(lines), title=title, x_label="epoch", y_label=title.lower(), y_range=y_range
            )
        )
        for title, lines, y_range in (("Accuracy", accuracy, ACCURACY), ("Loss", loss, None))
        if _drawn(lines)
    ]


def comparison(finished: Sequence[tuple[Search, Model]]) -> Markup | None:
    """Validation accuracy by epoch of every finished search on one dataset."""
    lines = [
        metrics.series(metrics.label(search), metrics.history(model), "valid_accuracy")
        for search, model in finished
    ]
    if not _drawn(lines):
        return None
    title = "Validation accuracy by epoch, every finished search on this dataset"
    return Markup(
        draw_curves(_drawn(lines), title=title, x_label="epoch", y_label="validation accuracy")
    )


def _drawn(lines: Sequence[Series]) -> list[Series]:
    return [line for line in lines if line.xs]


def _said(key: str) -> str:
    part, _, what = key.partition("_")
    names = {"train": "training", "valid": "validation", "test": "test"}
    return f"{names.get(part, part)} {what}"
