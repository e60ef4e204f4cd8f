"""From domain objects to pictures, marked as safe to put into a page unescaped."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from api.web import metrics, race_rows, words
from core.domain.datasets import Dataset
from core.domain.jobs import JobRecord
from core.domain.searches import Model, Search
from core.nas.space import CELL_SPACES
from core.pictures.bars import Bar, draw_bars
from core.pictures.cells import draw_cell
from core.pictures.curves import Series, draw_curves
from core.pictures.matrices import draw_matrix

FIGURES: tuple[tuple[str, tuple[str, ...], tuple[float, float] | None], ...] = (
    ("Accuracy", ("train_accuracy", "valid_accuracy"), (0.0, 1.0)),
    ("Loss", ("train_loss", "valid_loss"), None),
)


def class_counts(dataset: Dataset) -> Markup:
    """Images per class, train and test."""
    rows = zip(dataset.classes, dataset.train_counts, dataset.test_counts, strict=True)
    bars = [Bar(name, (float(train), float(test))) for name, train, test in rows]
    title = f"Images per class of {dataset.name}"
    return Markup(draw_bars(bars, title=title, unit="images", parts=("train", "test")))


def live_curves(
    records: Sequence[JobRecord], rates: Sequence[Any] = ()
) -> list[tuple[str, list[Markup]]]:
    """A job's accuracies and losses so far: for each stage, in order, its heading and charts."""
    stages: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for record in records:
        if record.stage == race_rows.STAGE:  # a table of contestants, not a course over epochs
            continue
        name, _, arm = record.stage.partition(":")
        rows = stages.setdefault(name, {}).setdefault(arm, [])
        rows.append({"epoch": record.step} | dict(record.values))
    shown = [
        (words.stage(name).capitalize(), _charts(arms, rates)) for name, arms in stages.items()
    ]
    return [(heading, charts) for heading, charts in shown if charts]


def _charts(
    arms: Mapping[str, Sequence[Mapping[str, Any]]], rates: Sequence[Any] = ()
) -> list[Markup]:
    pictures = []
    for title, keys, y_range in FIGURES:
        lines = [
            metrics.series(_line_name(key, arm, rates), rows, key)
            for arm, rows in arms.items()
            for key in keys
        ]
        if _drawn(lines):
            picture = draw_curves(
                _drawn(lines), title=title, x_label="epoch", y_label=title.lower(), y_range=y_range
            )
            pictures.append(Markup(picture))
    return pictures


def _line_name(key: str, arm: str, rates: Sequence[Any]) -> str:
    said = {"train": "training", "valid": "validation"}.get(key.partition("_")[0], key)
    if arm.isdigit() and int(arm) < len(rates) > 1:
        return f"rate {rates[int(arm)]}, {said}"
    return said


def cells(model: Model) -> list[tuple[str, Markup]]:
    """The kinds of cell that it is made of."""
    found = metrics.genotype(model)
    if found is None:
        return []
    space = CELL_SPACES[found.cells]
    named = (("Normal cell", found.normal), ("Reduction cell", found.reduction))
    return [
        (
            name if space.reduction else "Cell",
            Markup(
                draw_cell(
                    [[(edge.operation, edge.source) for edge in node] for node in cell],
                    title=name,
                    inputs=space.inputs,
                    concatenated=space.concatenated,
                )
            ),
        )
        for name, cell in named
        if cell
    ]


def confusion(model: Model, dataset: Dataset) -> Markup | None:
    """The retrained network's mistakes on the test split."""
    values = metrics.confusion(model)
    if not values:
        return None
    # The names went with the dataset, if it was deleted.
    names = dataset.classes or tuple(map(str, range(len(values))))
    return Markup(
        draw_matrix(
            values,
            rows=names,
            columns=names,
            title="Confusion matrix of the retrained network on the test split",
            row_label="true class",
            column_label="predicted class",
        )
    )


def training(model: Model) -> list[Markup]:
    """The chosen arm's accuracies and losses by epoch."""
    return _charts({"": metrics.history(model)})


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
