"""What came of what, as a graph from left to right whose boxes are links."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core.pictures import layers, svg

WIDTH, HEIGHT = 156.0, 30.0
GUTTER, GAP, LANE, MARGIN = 56.0, 12.0, 10.0, 10.0
LEGEND = 30.0
LONGEST = 22
COLOURS = (svg.GREEN, svg.BLUE, svg.ORANGE)


@dataclass(frozen=True, slots=True)
class Box:
    """One box: `group` picks its colour, `tip` says all of its name; a marked one is looked at."""

    label: str
    group: int
    tip: str
    link: str | None = None
    marked: bool = False


def draw_lineage(
    boxes: Sequence[Box],
    links: Sequence[tuple[int, int]],
    *,
    title: str,
    groups: Sequence[str] = (),
) -> str:
    """Boxes, each in a column after all that lead to it. Every link goes from a box to a later
    one; `groups` names the colours."""
    ports: Counter[int] = Counter()
    numbered = []
    for source, target in links:
        numbered.append(layers.Link(source, target, ports[target]))
        ports[target] += 1
    heights = dict.fromkeys(range(len(boxes)), HEIGHT)
    plan = layers.arrange(numbered, count=len(boxes), heights=heights, lane=LANE, gap=GAP)
    top = LEGEND + MARGIN
    lefts = [MARGIN + column * (WIDTH + GUTTER) for column in range(plan.depth + 1)]
    body = [
        *_legend(groups),
        *(_line(link, plan, lefts, top) for link in numbered),
        *(
            _box(box, lefts[plan.depths[at]], plan.middles[at] + top)
            for at, box in enumerate(boxes)
        ),
    ]
    width = max(lefts[-1] + WIDTH + MARGIN, _legend_width(groups))
    height = plan.height + top + MARGIN
    return svg.document(
        width,
        height,
        title=title,
        description=_described(boxes, links),
        kind="lineage",
        body=body,
        role="figure",
    )


def _box(box: Box, left: float, middle: float) -> str:
    colour = COLOURS[box.group % len(COLOURS)]
    drawn = (
        svg.tip(box.tip),
        svg.element(
            "rect",
            x=left,
            y=middle - HEIGHT / 2,
            width=WIDTH,
            height=HEIGHT,
            rx=7,
            fill=colour,
            fill_opacity=0.32 if box.marked else 0.14,
            stroke="currentColor" if box.marked else colour,
            stroke_width=2.25 if box.marked else 1.25,
        ),
        svg.text(
            svg.shorten(box.label, LONGEST - 2 * box.marked),  # bold is wider
            left + WIDTH / 2,
            middle,
            text_anchor="middle",
            font_weight=700 if box.marked else None,
        ),
    )
    if box.link is None:
        return svg.element("g", *drawn)
    return svg.element("a", *drawn, href=box.link)


def _line(link: layers.Link, plan: layers.Plan, lefts: Sequence[float], top: float) -> str:
    x, y = lefts[plan.depths[link.source]] + WIDTH, plan.middles[link.source] + top
    drawn = [f"M{svg.number(x)} {svg.number(y)}"]
    for column, lane in plan.lanes.get(link, ()):
        drawn.append(_bend(x, y, lefts[column], lane + top))
        x, y = lefts[column] + WIDTH, lane + top
        drawn.append(f"H{svg.number(x)}")
    end = lefts[plan.depths[link.target]], plan.middles[link.target] + top
    drawn.append(_bend(x, y, *end))
    return svg.element(
        "path",
        d="".join(drawn),
        fill="none",
        stroke="currentColor",
        stroke_opacity=0.38,
        stroke_width=1.5,
    )


def _bend(x: float, y: float, to_x: float, to_y: float) -> str:
    half = (x + to_x) / 2
    return "C" + " ".join(svg.number(each) for each in (half, y, half, to_y, to_x, to_y))


def _legend(groups: Sequence[str]) -> Iterator[str]:
    x = MARGIN
    for index, name in enumerate(groups):
        colour = COLOURS[index % len(COLOURS)]
        yield svg.element(
            "rect", x=x, y=8, width=12, height=12, rx=3, fill=colour, fill_opacity=0.5,
            stroke=colour,
        )  # fmt: skip
        yield svg.text(name, x + 18, 15)
        x += 18 + svg.text_width(name) + 20


def _legend_width(groups: Sequence[str]) -> float:
    return MARGIN + sum(38 + svg.text_width(name) for name in groups)


def _described(boxes: Sequence[Box], links: Sequence[tuple[int, int]]) -> str:
    """The graph in words, for who does not see it."""
    onward: defaultdict[int, list[str]] = defaultdict(list)
    for source, target in links:
        onward[source].append(boxes[target].label)
    told = [f"{boxes[source].label}: {', '.join(names)}" for source, names in onward.items()]
    return "; ".join(told) + "." if told else ""
