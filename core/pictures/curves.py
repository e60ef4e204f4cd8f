"""Line charts: a training's losses and accuracies by epoch, several runs overlaid."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core.pictures import axes, scales, svg
from core.pictures.axes import BOTTOM, HEIGHT, LEFT, RIGHT, WIDTH, Frame

DASHES = (None, "7 4", "2 3", "9 3 2 3")
MOST_MARKERS = 40


@dataclass(frozen=True, slots=True)
class Series:
    """One line: its name in the legend, and its points in order."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]


def draw_curves(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    y_label: str,
    y_range: tuple[float, float] | None = None,
) -> str:
    """A line chart; points that are not finite leave a gap, an empty chart says so."""
    lines = [_finite(each) for each in series]
    legend, top = _legend([each.name for each in series])
    frame = _frame(lines, y_range=y_range, top=top)
    body = [*legend, *axes.draw(frame, x_label=x_label, y_label=y_label, whole=True)]
    if not any(points for points in lines):
        middle = (LEFT + WIDTH - RIGHT) / 2
        body.append(
            svg.text(
                "nothing recorded yet",
                middle,
                (top + HEIGHT - BOTTOM) / 2,
                text_anchor="middle",
                opacity=0.6,
            )
        )
    for index, points in enumerate(lines):
        body.extend(_line(series[index].name, points, frame, index))
    return svg.document(WIDTH, HEIGHT, title=title, kind="curves", body=body)


def _finite(series: Series) -> list[list[tuple[float, float]]]:
    """The runs of consecutive points that can be drawn."""
    runs: list[list[tuple[float, float]]] = []
    joined = False
    for x, y in zip(series.xs, series.ys, strict=False):
        drawable = math.isfinite(x) and math.isfinite(y)
        if drawable and joined:
            runs[-1].append((x, y))
        elif drawable:
            runs.append([(x, y)])
        joined = drawable
    return runs


def _frame(
    lines: Sequence[list[list[tuple[float, float]]]],
    *,
    y_range: tuple[float, float] | None,
    top: float,
) -> Frame:
    points = [point for runs in lines for run in runs for point in run]
    return axes.frame(
        scales.extent(x for x, _ in points),
        y_range or axes.padded(scales.extent(y for _, y in points)),
        top=top,
    )


def _legend(names: Sequence[str]) -> tuple[list[str], float]:
    """The legend's marks in as many rows as they need, and where the plot may begin."""
    marks, x, y = [], LEFT, 14.0
    for index, full in enumerate(names):
        name = svg.shorten(full, 48)
        width = 30 + svg.text_width(name) + 14
        if x > LEFT and x + width > WIDTH - RIGHT:
            x, y = LEFT, y + 18
        marks.append(
            svg.element("line", x1=x, x2=x + 22, y1=y, y2=y, stroke_width=2.5, **_ink(index))
        )
        marks.append(svg.text(name, x + 28, y))
        x += width
    return marks, (y + 18 if names else 14.0)


def _line(
    name: str, runs: list[list[tuple[float, float]]], frame: Frame, index: int
) -> Iterator[str]:
    colour = svg.SERIES[index % len(svg.SERIES)]
    marked = sum(map(len, runs)) <= MOST_MARKERS
    for run in runs:
        points = " ".join(f"{svg.number(frame.x(x))},{svg.number(frame.y(y))}" for x, y in run)
        yield svg.element(
            "polyline",
            points=points,
            fill="none",
            stroke_width=2.25,
            stroke_linejoin="round",
            stroke_linecap="round",
            **_ink(index),
        )
        for x, y in run if marked or len(run) == 1 else ():
            said = f"{name}: {scales.label(y)} at {scales.label(x)}"
            yield svg.element(
                "circle", svg.tip(said), cx=frame.x(x), cy=frame.y(y), r=3.2, fill=colour
            )


def _ink(index: int) -> dict[str, svg.Attribute]:
    return {
        "stroke": svg.SERIES[index % len(svg.SERIES)],
        "stroke_dasharray": DASHES[index // len(svg.SERIES) % len(DASHES)],
    }
