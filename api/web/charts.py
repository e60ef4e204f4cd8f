"""From domain objects to pictures, marked as safe to put into a page unescaped."""

from collections.abc import Sequence

from markupsafe import Markup

from api.web import confusion_rows, live_charts, metrics
from core.domain.datasets import Dataset
from core.domain.searches import Model, Search
from core.nas.genotype import Genotype
from core.nas.space import CELL_SPACES
from core.pictures.bars import Bar, draw_bars
from core.pictures.cells import draw_cell
from core.pictures.curves import Series, draw_curves
from core.pictures.matrices import draw_matrix

MOST_CLASSES_DRAWN = 100
SHOWN_CLASSES = 40  # with their images


def class_counts(dataset: Dataset) -> Markup:
    """Images per class, train and test."""
    rows = zip(dataset.classes, dataset.train_counts, dataset.test_counts, strict=True)
    bars = [Bar(name, (float(train), float(test))) for name, train, test in rows]
    title = f"Images per class of {dataset.name}"
    return Markup(draw_bars(bars, title=title, unit="images", parts=("train", "test")))


def cells(found: Genotype | None) -> list[tuple[str, Markup]]:
    """The kinds of cell that a genotype is made of, drawn."""
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


def confusion(dataset: Dataset, counts: confusion_rows.Counts) -> Markup | None:
    """The retrained network's mistakes on the test split; None of more classes than can be told
    apart in a picture."""
    if not 0 < len(counts) <= MOST_CLASSES_DRAWN:
        return None
    names = confusion_rows.class_names(dataset, len(counts))
    return Markup(
        draw_matrix(
            counts.tolist(),
            rows=names,
            columns=names,
            title="Confusion matrix of the retrained network on the test split",
            row_label="true class",
            column_label="predicted class",
        )
    )


def training(model: Model) -> list[Markup]:
    """The chosen arm's accuracies and losses by epoch."""
    return live_charts.drawn({"": metrics.history(model)})


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
        draw_curves(
            _drawn(lines),
            title=title,
            x_label="epoch",
            y_label="validation accuracy",
            y_range=(0.0, 1.0),
        )
    )


def _drawn(lines: Sequence[Series]) -> list[Series]:
    return [line for line in lines if line.xs]
