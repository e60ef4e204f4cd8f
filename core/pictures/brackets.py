"""A race as a bracket: a row for each contestant, which ends at the rung where it fell out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core.pictures import svg

ROW, TOP, BOTTOM = 38.0, 46.0, 12.0
COLUMN = 150.0
RADIUS = 5.0
LONGEST_NAME = 30
WON, OUT = svg.GREEN, svg.SLATE


@dataclass(frozen=True, slots=True)
class Place:
    """How a contestant stood after a rung: what was measured, and why it fell out there, if so."""

    measured: str
    out: str | None = None


@dataclass(frozen=True, slots=True)
class Contestant:
    """One row: a place for each rung it ran."""

    name: str
    places: Sequence[Place]
    won: bool = False

    @property
    def out(self) -> str | None:
        """Why it fell out; None while it runs, and of the winner."""
        return self.places[-1].out if self.places and not self.won else None


def draw_bracket(
    contestants: Sequence[Contestant], *, title: str, rungs: Sequence[str], description: str = ""
) -> str:
    """The race; `rungs` names the columns."""
    names = [svg.shorten(each.name, LONGEST_NAME) for each in contestants]
    left = max((svg.text_width(name, 13) for name in names), default=0.0) + 28  # one is bold
    width, height = left + COLUMN * len(rungs) + 20, TOP + ROW * len(contestants) + BOTTOM
    body = list(_columns(rungs, left, height))
    for index, each in enumerate(contestants):
        body.extend(_row(each, names[index], left, TOP + ROW * (index + 0.5)))
    return svg.document(
        width, height, title=title, kind="bracket", body=body, description=description
    )


def _columns(rungs: Sequence[str], left: float, height: float) -> Iterator[str]:
    for index, name in enumerate(rungs):
        x = _x(index, left)
        yield svg.text(name, x, 16, text_anchor="middle", opacity=0.75)
        yield svg.element(
            "line", x1=x, x2=x, y1=30, y2=height, stroke="currentColor", stroke_opacity=0.1
        )


def _row(each: Contestant, name: str, left: float, y: float) -> Iterator[str]:
    colour = WON if each.won else OUT if each.out is not None else svg.BLUE
    yield svg.text(
        name,
        left - 20,
        y,
        text_anchor="end",
        font_weight=650 if each.won else None,
        opacity=None if each.out is None else 0.75,
    )
    if each.places:
        yield svg.element(
            "line",
            x1=left - 12,
            x2=_x(len(each.places) - 1, left),
            y1=y,
            y2=y,
            stroke=colour,
            stroke_width=3 if each.won else 2,
        )
    for index, place in enumerate(each.places):
        said = place.measured if place.out is None else f"{place.measured}; out: {place.out}"
        yield _mark(_x(index, left), y, colour, f"{each.name}: {said}", out=place.out is not None)
        yield svg.text(place.measured, _x(index, left), y - 13, text_anchor="middle", font_size=11)
    if each.won:
        yield svg.text("won", _x(len(each.places) - 1, left) + 12, y, fill=WON, font_weight=650)


def _mark(x: float, y: float, colour: str, said: str, *, out: bool) -> str:
    """A disc, or a cross where the line ends."""
    if not out:
        return svg.element("circle", svg.tip(said), cx=x, cy=y, r=RADIUS, fill=colour)
    arm, low, high = svg.number(2 * RADIUS), svg.number(y - RADIUS), svg.number(x - RADIUS)
    return svg.element(
        "path",
        svg.tip(said),
        d=f"M{high} {low}l{arm} {arm}m0 -{arm}l-{arm} {arm}",
        stroke=svg.ROSE,
        stroke_width=2.5,
        fill="none",
    )


def _x(rung: int, left: float) -> float:
    return left + COLUMN * (rung + 0.5)
