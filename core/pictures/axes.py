"""The axes that line charts, plots of points and trends share."""

from collections.abc import Iterator
from dataclasses import dataclass

from core.pictures import scales, svg

WIDTH, HEIGHT = 640.0, 300.0
LEFT, RIGHT, BOTTOM = 64.0, 18.0, 46.0
FAINT = 0.13


@dataclass(frozen=True, slots=True)
class Frame:
    """Where data fall on the picture, and where the plot begins."""

    x: scales.Scale
    y: scales.Scale
    top: float


def frame(x: tuple[float, float], y: tuple[float, float], *, top: float) -> Frame:
    """The frame of such ranges of data."""
    return Frame(
        x=scales.Scale(*x, LEFT + 6, WIDTH - RIGHT - 6),
        y=scales.Scale(*y, HEIGHT - BOTTOM, top),
        top=top,
    )


def padded(extent: tuple[float, float]) -> tuple[float, float]:
    """A little more than the range; what is not negative stays so."""
    low, high = extent
    margin = (high - low) * 0.06
    return (max(0.0, low - margin) if low >= 0 else low - margin), high + margin


def draw(frame: Frame, *, x_label: str, y_label: str, whole: bool = False) -> Iterator[str]:
    """Marks, numbers and names; `whole` marks whole numbers only along x."""
    base = HEIGHT - BOTTOM
    yield from levels(frame)
    for value in scales.ticks(frame.x.low, frame.x.high, about=8, whole=whole):
        x = frame.x(value)
        yield svg.element(
            "line", x1=x, x2=x, y1=base, y2=base + 4, stroke="currentColor", stroke_opacity=0.4
        )
        yield svg.text(scales.label(value), x, base + 15, text_anchor="middle", opacity=0.75)
    yield _level(base, 0.4)
    yield from names(frame, x_label, y_label)


def levels(frame: Frame, *, zero: float = FAINT) -> Iterator[str]:
    """A line at every mark along y, with its number; that at nothing as opaque as `zero`."""
    for value in scales.ticks(frame.y.low, frame.y.high):
        y = frame.y(value)
        yield _level(y, FAINT if value else zero)
        yield svg.text(scales.label(value), LEFT - 8, y, text_anchor="end", opacity=0.75)


def _level(y: float, opacity: float) -> str:
    ink: dict[str, svg.Attribute] = {"stroke": "currentColor", "stroke_opacity": opacity}
    return svg.element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, **ink)


def names(frame: Frame, x_label: str, y_label: str) -> Iterator[str]:
    """What is measured along each axis."""
    centre, middle = (LEFT + WIDTH - RIGHT) / 2, (frame.top + HEIGHT - BOTTOM) / 2
    yield svg.text(x_label, centre, HEIGHT - 10, text_anchor="middle", opacity=0.75)
    yield svg.text(
        y_label,
        13,
        middle,
        text_anchor="middle",
        opacity=0.75,
        transform=f"rotate(-90 13 {svg.number(middle)})",
    )
