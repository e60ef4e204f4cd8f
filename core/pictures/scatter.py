"""Points in the plane with their names: the map of datasets by their distances."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core.pictures import scales, svg

WIDTH = 600.0
LOWEST, HIGHEST = 240.0, 460.0
MARGIN, LEGEND, SCALE = 34.0, 30.0, 34.0
RADIUS, MARKED_RADIUS = 5.0, 8.0
FONT = 12.0
LONGEST_LABEL = 24
# Told apart without colour sight, too: the last group is the pale background.
COLOURS = (svg.ORANGE, svg.BLUE, svg.SLATE)


@dataclass(frozen=True, slots=True)
class Spot:
    """One point; `group` picks its colour, a marked one is larger and always named, a ringed one
    has a ring and is named before others. With an `href` it is a link, which says `told` (the
    label, where nothing else is told) and carries the `key` for a script."""

    label: str
    x: float
    y: float
    group: int = 0
    marked: bool = False
    ringed: bool = False
    href: str = ""
    told: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class _Box:
    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: "_Box") -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )


@dataclass(frozen=True, slots=True)
class _Dot:
    spot: Spot
    x: float
    y: float

    @property
    def radius(self) -> float:
        return MARKED_RADIUS if self.spot.marked else RADIUS

    @property
    def box(self) -> _Box:
        reach = self.radius + 1
        return _Box(self.x - reach, self.y - reach, self.x + reach, self.y + reach)


def draw_scatter(
    spots: Sequence[Spot],
    *,
    title: str,
    description: str = "",
    groups: Sequence[str] = (),
    unit: str = "",
) -> str:
    """Points at one scale for both axes; names stay where they meet no point and no other name.

    `groups` names the colours in a legend, `unit` what the bar at the bottom measures. A point
    whose name found no room has it as a tooltip.
    """
    shown = [spot for spot in spots if math.isfinite(spot.x) and math.isfinite(spot.y)]
    scale = _pixels_per_unit(shown)
    top = LEGEND if groups else 8.0
    height = max(LOWEST, _span([spot.y for spot in shown]) * scale + 2 * MARGIN)
    dots = _placed(shown, scale, top + height / 2)
    frame = _Box(4.0, top, WIDTH - 4, top + height)
    body = [
        *_legend(groups),
        svg.element(
            "rect",
            x=frame.left,
            y=frame.top,
            width=frame.right - frame.left,
            height=height,
            rx=8,
            fill="none",
            stroke="currentColor",
            stroke_opacity=0.18,
        ),
        *(_circle(dot) for dot in dots),
        *_labels(dots, frame),
        *_scale_bar(scale, frame, unit if len(shown) > 1 else ""),
    ]
    if not shown:
        said = svg.text("nothing to show", WIDTH / 2, top + height / 2, text_anchor="middle")
        body.append(said)
    bottom = frame.bottom + (SCALE if unit else 8.0)
    about = {"title": title, "description": description, "kind": "scatter"}
    role = "figure" if any(spot.href for spot in shown) else "img"
    return svg.document(WIDTH, bottom, body=body, role=role, **about)


def _span(values: Sequence[float]) -> float:
    return max(values) - min(values) if values else 0.0


def _pixels_per_unit(spots: Sequence[Spot]) -> float:
    wide, high = _span([spot.x for spot in spots]), _span([spot.y for spot in spots])
    room = (WIDTH - 2 * MARGIN, HIGHEST - 2 * MARGIN)
    fits = [pixels / span for pixels, span in zip(room, (wide, high), strict=True) if span > 0]
    return min(fits, default=1.0)


def _placed(spots: Sequence[Spot], scale: float, middle: float) -> list[_Dot]:
    """In pixels, the cloud's own middle in the middle of the frame."""
    if not spots:
        return []
    xs, ys = [spot.x for spot in spots], [spot.y for spot in spots]
    across, down = (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2
    # The plane's second axis points up, the picture's down.
    found = [
        _Dot(spot, WIDTH / 2 + (spot.x - across) * scale, middle - (spot.y - down) * scale)
        for spot in spots
    ]
    return sorted(found, key=lambda dot: (dot.spot.marked, dot.spot.ringed, -dot.spot.group))


def _circle(dot: _Dot) -> str:
    spot = dot.spot
    drawn = svg.element(
        "circle",
        svg.tip(spot.told or spot.label),
        cx=dot.x,
        cy=dot.y,
        r=dot.radius,
        fill=COLOURS[spot.group % len(COLOURS)],
        fill_opacity=0.85,
        stroke="currentColor" if spot.marked or spot.ringed else None,
        stroke_width=1.6 if spot.marked or spot.ringed else None,
    )
    if not spot.href:
        return drawn
    return svg.element("a", drawn, href=spot.href, data_of=spot.key, aria_label=spot.told or None)


def _labels(dots: Sequence[_Dot], frame: _Box) -> Iterator[str]:
    """Names, the most important first, each at the first of six places that is free."""
    taken = [dot.box for dot in dots]
    for dot in reversed(dots):
        name = svg.shorten(dot.spot.label, LONGEST_LABEL)
        places = [_place(dot, svg.text_width(name, FONT), turn) for turn in range(6)]
        free = [turn for turn, each in enumerate(places) if _is_free(each, frame, taken)]
        if not free and not dot.spot.marked:
            continue
        turn = free[0] if free else 0
        box = _inside(places[turn], frame)
        taken.append(box)
        # Widths are only about right: text begins at its point, not somewhere round its middle.
        anchor = ("start", "end", "middle", "middle", "start", "start")[turn]
        x = {"start": box.left, "end": box.right}.get(anchor, (box.left + box.right) / 2)
        yield svg.text(
            name,
            x,
            (box.top + box.bottom) / 2,
            text_anchor=anchor,
            font_size=FONT,
            font_weight=700 if dot.spot.marked else None,
        )


def _is_free(box: _Box, frame: _Box, taken: Sequence[_Box]) -> bool:
    return _inside(box, frame) == box and not any(box.meets(other) for other in taken)


def _place(dot: _Dot, width: float, turn: int) -> _Box:
    """Right, left, above, below, and the two diagonals on the right."""
    half, far = FONT * 0.6, dot.radius + 2
    beside = dot.x + far if turn != 1 else dot.x - far - width
    left = beside if turn in (0, 1, 4, 5) else dot.x - width / 2
    shift = (0.0, 0.0, -1.0, 1.0, -0.8, 0.8)[turn] * (far + half)
    return _Box(left, dot.y + shift - half, left + width, dot.y + shift + half)


def _inside(box: _Box, frame: _Box) -> _Box:
    """The box, moved no farther than the frame asks."""
    across = max(frame.left + 4 - box.left, 0.0) + min(frame.right - 4 - box.right, 0.0)
    down = max(frame.top + 2 - box.top, 0.0) + min(frame.bottom - 2 - box.bottom, 0.0)
    return _Box(box.left + across, box.top + down, box.right + across, box.bottom + down)


def _legend(groups: Sequence[str]) -> Iterator[str]:
    x = 10.0
    for index, name in enumerate(groups):
        colour = COLOURS[index % len(COLOURS)]
        yield svg.element("circle", cx=x, cy=13, r=RADIUS, fill=colour, fill_opacity=0.85)
        yield svg.text(name, x + 11, 14)
        x += 11 + svg.text_width(name) + 20


def _scale_bar(scale: float, frame: _Box, unit: str) -> Iterator[str]:
    if not unit:
        return
    length = scales.ticks(0.0, WIDTH / 4 / scale, about=2)[-1]
    left, y = frame.left + 8, frame.bottom + 18
    right = left + length * scale
    path = (
        f"M{svg.number(left)} {svg.number(y)}H{svg.number(right)}"
        f"M{svg.number(left)} {svg.number(y - 4)}v8M{svg.number(right)} {svg.number(y - 4)}v8"
    )
    yield svg.element("path", d=path, fill="none", stroke="currentColor", stroke_width=1.4)
    yield svg.text(f"{scales.label(length)} {unit}", right + 10, y, opacity=0.75)
