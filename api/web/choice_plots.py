"""What a search chose from, drawn: accuracy against each cost that is known."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from markupsafe import Markup

from api.web import words
from api.web.choice_rows import UNITS, cost, selection
from api.web.metrics import mapping, number, sequence
from core.domain.searches import Model
from core.pictures.fronts import Point, draw_front

SIZES = (("million ", 1e6), ("thousand ", 1e3))


def draw(model: Model) -> list[Markup]:
    """One plot for each cost that is known of several; where candidates do not tell it, of those
    that trade it."""
    found = selection(model.metrics)
    rows = [[mapping(row) for row in sequence(found.get(k))] for k in ("candidates", "trade_offs")]
    drawn = {}
    for name in UNITS:
        scored, traded = (_points(name, each, model) for each in rows)
        drawn[name] = scored if len(scored) > 1 else traded
    return [_plot(name, points) for name, points in drawn.items() if len(points) > 1]


def _points(name: str, rows: Sequence[Mapping[str, Any]], model: Model) -> list[Point]:
    points = []
    for row in rows:
        taken, accuracy = number(row.get(name)), number(row.get("accuracy"))
        if taken is not None and accuracy is not None:
            told = f"{words.percent(accuracy)}, {cost(name, taken)} {UNITS[name]}"
            origin = f" ({row['origin']})" if isinstance(row.get("origin"), str) else ""
            chosen = row.get("genotype") == model.genotype
            points.append(Point(told + origin, taken, 100 * accuracy, marked=chosen))
    return points


def _plot(name: str, points: Sequence[Point]) -> Markup:
    unit, size = _unit(name, max(point.x for point in points))
    return Markup(
        draw_front(
            [replace(each, x=each.x / size) for each in points],
            title=f"Accuracy and {words.OBJECTIVES[name]} of the cells that were scored",
            x_label=unit,
            y_label="accuracy, %",
            marked="retrained",
        )
    )


def _unit(name: str, most: float) -> tuple[str, float]:
    if name == "latency":
        return "milliseconds for an image", 1e-3
    word, size = next((each for each in SIZES if most >= each[1]), ("", 1.0))
    return f"{word}{UNITS[name]}", size
