"""Points by what they cost and what they are worth, with the line of those that none beats."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core.pictures import axes, scales, svg
from core.pictures.axes import LEFT, Frame

TOP, RADIUS, MARKED_RADIUS = 32.0, 4.0, 7.0
FRONT, REST, MARKED = svg.BLUE, svg.SLATE, svg.ORANGE


@dataclass(frozen=True, slots=True)
class Point:
    """What it is called, its cost `x` and its worth `y`; a marked one is ringed."""

    label: str
    x: float
    y: float
    marked: bool = False


def draw_front(
    points: Sequence[Point], *, title: str, x_label: str, y_label: str, marked: str = ""
) -> str:
    """Points, the cheap on the left and the good on top; `marked` names those that are ringed."""
    shown = [each for each in points if math.isfinite(each.x) and math.isfinite(each.y)]
    frame = axes.frame(
        axes.padded(scales.extent(each.x for each in shown)),
        axes.padded(scales.extent(each.y for each in shown)),
        top=TOP,
    )
    best = unbeaten(shown)
    body = [
        *_legend(marked if any(each.marked for each in shown) else ""),
        *axes.draw(frame, x_label=x_label, y_label=y_label),
        *_line(best, frame),
        *(_dot(each, frame, FRONT if each in best else REST) for each in shown),
    ]
    said = ", ".join(f"{each.label}: {scales.label(each.y)}" for each in best)
    return svg.document(
        axes.WIDTH, axes.HEIGHT, title=title, description=said, kind="front", body=body
    )


def unbeaten(points: Sequence[Point]) -> list[Point]:
    """Those that none beats in one of cost and worth and equals in the other, by rising cost."""
    found: list[Point] = []
    for each in sorted(points, key=lambda each: (each.x, -each.y)):
        if not found or each.y > found[-1].y:
            found.append(each)
    return found


def _legend(marked: str) -> Iterator[str]:
    x = LEFT
    named = [("not beaten", FRONT, RADIUS), ("others", REST, RADIUS)]
    for name, colour, radius in [*named, *([(marked, MARKED, MARKED_RADIUS)] if marked else [])]:
        ring = colour == MARKED
        yield svg.element(
            "circle",
            cx=x + 4,
            cy=14,
            r=radius,
            fill="none" if ring else colour,
            stroke=colour if ring else None,
            stroke_width=2.25 if ring else None,
        )
        yield svg.text(name, x + 15, 14)
        x += 15 + svg.text_width(name) + 18


def _line(best: Sequence[Point], frame: Frame) -> Iterator[str]:
    """Steps: between two points nothing is better than the cheaper one."""
    if len(best) < 2:
        return
    path = f"M{svg.number(frame.x(best[0].x))} {svg.number(frame.y(best[0].y))}" + "".join(
        f"H{svg.number(frame.x(each.x))}V{svg.number(frame.y(each.y))}" for each in best[1:]
    )
    yield svg.element(
        "path", d=path, fill="none", stroke=FRONT, stroke_width=1.8, stroke_opacity=0.7
    )


def _dot(point: Point, frame: Frame, colour: str) -> str:
    x, y = frame.x(point.x), frame.y(point.y)
    ring = svg.element(
        "circle", cx=x, cy=y, r=MARKED_RADIUS, fill="none", stroke=MARKED, stroke_width=2.25
    )
    dot = svg.element("circle", svg.tip(point.label), cx=x, cy=y, r=RADIUS, fill=colour)
    return dot + ring if point.marked else dot
