"""Horizontal bars: images per class, distances with their intervals."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core.pictures import scales, svg

WIDTH = 640.0
ROW, BAR = 24.0, 14.0
TIGHT_ROW, TIGHT_BAR = 15.0, 9.0
ROOMY = 24
LONGEST_LABEL = 26


@dataclass(frozen=True, slots=True)
class Bar:
    """One row: stacked `parts` from the left, and an interval around their sum if known."""

    label: str
    parts: tuple[float, ...]
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class _Frame:
    x: scales.Scale
    top: float
    row: float
    thick: float


def draw_bars(bars: Sequence[Bar], *, title: str, unit: str, parts: Sequence[str] = ()) -> str:
    """Horizontal bars; `parts` names the stacked pieces in a legend."""
    row, thick = (ROW, BAR) if len(bars) <= ROOMY else (TIGHT_ROW, TIGHT_BAR)
    names = [svg.shorten(bar.label, LONGEST_LABEL) for bar in bars]
    left = max((svg.text_width(name, 12) for name in names), default=0.0) + 14
    high = max((_reach(bar) for bar in bars), default=0.0) or 1.0
    scale = scales.Scale(0.0, high, left, WIDTH - 74)
    frame = _Frame(x=scale, top=30.0 if parts else 8.0, row=row, thick=thick)
    bottom = frame.top + row * len(bars)
    body = [*_legend(parts, left), *_grid(frame, bottom, unit)]
    for index, bar in enumerate(bars):
        body.extend(_bar(bar, names[index], frame, index))
    return svg.document(WIDTH, bottom + 42, title=title, kind="bars", body=body)


def _reach(bar: Bar) -> float:
    ends = [_total(bar), *(bar.interval or ())]
    return max((end for end in ends if math.isfinite(end)), default=0.0)


def _total(bar: Bar) -> float:
    return sum(part for part in bar.parts if math.isfinite(part))


def _legend(parts: Sequence[str], left: float) -> Iterator[str]:
    x = left
    for index, name in enumerate(parts):
        yield svg.element(
            "rect",
            x=x,
            y=8,
            width=12,
            height=12,
            rx=3,
            fill=svg.SERIES[index % len(svg.SERIES)],
            fill_opacity=0.85,
        )
        yield svg.text(name, x + 18, 14)
        x += 18 + svg.text_width(name) + 18


def _grid(frame: _Frame, bottom: float, unit: str) -> Iterator[str]:
    for value in scales.ticks(0.0, frame.x.high, about=5):
        x = frame.x(value)
        yield svg.element(
            "line",
            x1=x,
            x2=x,
            y1=frame.top,
            y2=bottom + 4,
            stroke="currentColor",
            stroke_opacity=0.13,
        )
        yield svg.text(scales.label(value), x, bottom + 15, text_anchor="middle", opacity=0.75)
    yield svg.text(
        unit, (frame.x.start + frame.x.end) / 2, bottom + 33, text_anchor="middle", opacity=0.75
    )


def _bar(bar: Bar, name: str, frame: _Frame, index: int) -> Iterator[str]:
    middle = frame.top + (index + 0.5) * frame.row
    yield svg.text(
        name, frame.x.start - 8, middle, text_anchor="end", font_size=min(12.0, frame.row * 0.8)
    )
    reached = 0.0
    said = f"{bar.label}: " + " + ".join(scales.label(part) for part in bar.parts)
    for part_index, part in enumerate(bar.parts):
        if not math.isfinite(part) or part <= 0:
            continue
        start, end = frame.x(reached), frame.x(reached + part)
        yield svg.element(
            "rect",
            svg.tip(said),
            x=start,
            y=middle - frame.thick / 2,
            rx=2,
            width=max(1.0, end - start),
            height=frame.thick,
            fill_opacity=0.85,
            fill=svg.SERIES[part_index % len(svg.SERIES)],
        )
        reached += part
    edge = frame.x(reached)
    if bar.interval is not None and all(map(math.isfinite, bar.interval)):
        edge = max(edge, frame.x(bar.interval[1]))
        yield _whisker(bar.interval, frame, middle)
    yield svg.text(
        scales.label(_total(bar)),
        edge + 8,
        middle,
        font_size=min(12.0, frame.row * 0.8),
        opacity=0.85,
    )


def _whisker(interval: tuple[float, float], frame: _Frame, middle: float) -> str:
    low, high = frame.x(interval[0]), frame.x(interval[1])
    cap = frame.thick * 0.36
    path = (
        f"M{svg.number(low)} {svg.number(middle)}H{svg.number(high)}"
        f"M{svg.number(low)} {svg.number(middle - cap)}v{svg.number(2 * cap)}"
        f"M{svg.number(high)} {svg.number(middle - cap)}v{svg.number(2 * cap)}"
    )
    said = f"interval {scales.label(interval[0])} to {scales.label(interval[1])}"
    return svg.element(
        "path", svg.tip(said), d=path, fill="none", stroke="currentColor", stroke_width=1.6
    )
