"""Measurements over time as dots, with the running median of the last few as a line."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median

from core.pictures import axes, scales, svg
from core.pictures.axes import LEFT, Frame

TOP = 30.0
WINDOW = 9  # measurements that a median is of
HALF_A_DAY = 43_200.0  # around a single measurement
FEWEST = 3  # with no more there is no line
DOT, LINE = svg.BLUE, svg.ORANGE


@dataclass(frozen=True, slots=True)
class Measured:
    """One measurement; `tip` says what it is of, `link` leads there."""

    at: datetime
    value: float
    tip: str
    link: str | None = None


def draw_trend(measured: Sequence[Measured], *, title: str, y_label: str) -> str:
    """Dots in the order of their times, about a line at zero; the median of at most `WINDOW` of
    them, each and those before it, where there are more than `FEWEST`."""
    shown = sorted((each for each in measured if math.isfinite(each.value)), key=_when)
    frame = _frame(shown)
    body = [*_axes(frame, y_label), *(_dot(each, frame) for each in shown)]
    if len(shown) > FEWEST:
        body += _median(shown, frame)
    return svg.document(
        axes.WIDTH, axes.HEIGHT, title=title, kind="trend", body=body, role="figure"
    )


def running_median(values: Sequence[float]) -> list[float]:
    """Of each value and those before it, `WINDOW` at most."""
    return [median(values[max(0, at + 1 - WINDOW) : at + 1]) for at in range(len(values))]


def _when(each: Measured) -> datetime:
    return each.at


def _frame(shown: Sequence[Measured]) -> Frame:
    first, last = scales.extent(each.at.timestamp() for each in shown)
    if len({each.at for each in shown}) == 1:
        first, last = (shown[0].at.timestamp() + half for half in (-HALF_A_DAY, HALF_A_DAY))
    low, high = scales.extent([*(each.value for each in shown), 0.0])
    margin = 0.08 * (high - low)
    return axes.frame((first, last), (low - margin, high + margin), top=TOP)


def _dot(each: Measured, frame: Frame) -> str:
    circle = svg.element(
        "circle",
        svg.tip(each.tip),
        cx=frame.x(each.at.timestamp()),
        cy=frame.y(each.value),
        r=4,
        fill=DOT,
        fill_opacity=0.85,
    )
    return circle if each.link is None else svg.element("a", circle, href=each.link)


def _median(shown: Sequence[Measured], frame: Frame) -> Iterator[str]:
    values = running_median([each.value for each in shown])
    points = " ".join(
        f"{svg.number(frame.x(each.at.timestamp()))},{svg.number(frame.y(value))}"
        for each, value in list(zip(shown, values, strict=True))[FEWEST - 1 :]
    )
    ink: dict[str, svg.Attribute] = {"stroke": LINE, "stroke_width": 2.5}
    yield svg.element("polyline", points=points, fill="none", stroke_linejoin="round", **ink)
    yield svg.element("line", x1=LEFT, x2=LEFT + 22, y1=14, y2=14, **ink)
    yield svg.text(f"running median of up to {WINDOW}", LEFT + 28, 14)


def _axes(frame: Frame, y_label: str) -> Iterator[str]:
    yield from axes.levels(frame, zero=0.5)
    base = axes.HEIGHT - axes.BOTTOM
    for at, anchor in ((frame.x.low, "start"), (frame.x.high, "end")):
        said = f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M}"
        yield svg.text(said, frame.x(at), base + 16, text_anchor=anchor, opacity=0.75)
    yield from axes.names(frame, "submitted (UTC)", y_label)
