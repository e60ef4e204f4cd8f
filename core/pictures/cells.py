"""A DARTS cell as a graph: inputs on the left, concatenation on the right, operations named."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from core.pictures import layers, svg

PILL_WIDTH, PILL_HEIGHT, PILL_GAP = 104.0, 22.0, 6.0
NODE_RADIUS = 15.0
STEM = 26.0
END_WIDTH = 62.0
GUTTER = 70.0
LANE_HEIGHT = 12.0
ROW_GAP = 22.0
MARGIN = 12.0

COLOUR_OF: Mapping[str, str] = {
    "none": svg.SLATE,
    "skip_connect": svg.SLATE,
    "max_pool_3x3": svg.AMBER,
    "avg_pool_3x3": svg.ORANGE,
    "sep_conv_3x3": svg.BLUE,
    "sep_conv_5x5": svg.VIOLET,
    "dil_conv_3x3": svg.GREEN,
    "dil_conv_5x5": svg.TEAL,
    "conv_1x1": svg.TEAL,
    "conv_3x3": svg.BLUE,
}


@dataclass(frozen=True, slots=True)
class _Box:
    """Where a vertex stands: `left` takes edges in, `right` lets them out, `y` is its middle."""

    left: float
    right: float
    y: float


def draw_cell(
    nodes: Sequence[Sequence[tuple[str, int]]],
    *,
    title: str,
    inputs: int = 2,
    concatenated: bool = True,
) -> str:
    """A derived cell.

    Each node lists its incoming edges as (operation, source); the first sources are the outputs
    of the one or two cells before, source `i + inputs` is node `i`. The output is all nodes, or
    only the last one.
    """
    links = tuple(_links(nodes, inputs, concatenated=concatenated))
    count = len(nodes) + inputs + 1
    heights = {vertex: _height(vertex, nodes, inputs) for vertex in range(count)}
    plan = layers.arrange(links, count=count, heights=heights, lane=LANE_HEIGHT, gap=ROW_GAP)
    widths = _column_widths(plan)
    lefts = _column_lefts(widths)
    boxes = {v: _box(v, plan, lefts, widths) for v in range(count)}
    width, height = lefts[-1] + END_WIDTH + MARGIN, plan.height + 2 * MARGIN
    body = [
        *_edges(nodes, links, plan, boxes, lefts, widths, inputs),
        *(
            mark
            for i, edges in enumerate(nodes)
            for mark in _node(i, edges, boxes[i + inputs], inputs)
        ),
        *(_end(_input(at, inputs), boxes[at]) for at in range(inputs)),
        _end("c_{k}", boxes[count - 1]),
    ]
    return svg.document(width, height, title=title, kind="cell", body=body)


def _links(
    nodes: Sequence[Sequence[tuple[str, int]]], inputs: int, *, concatenated: bool
) -> Iterator[layers.Link]:
    for index, edges in enumerate(nodes):
        for port, (_, source) in enumerate(edges):
            if not 0 <= source < index + inputs:
                raise ValueError(f"node {index} takes its input from {source}, not before it")
            yield layers.Link(source, index + inputs, port)
    for index in range(len(nodes)) if concatenated else [len(nodes) - 1]:
        yield layers.Link(index + inputs, len(nodes) + inputs, index)


def _height(vertex: int, nodes: Sequence[Sequence[tuple[str, int]]], inputs: int) -> float:
    if vertex < inputs or vertex == len(nodes) + inputs:
        return 28.0
    count = max(1, len(nodes[vertex - inputs]))
    return count * PILL_HEIGHT + (count - 1) * PILL_GAP


def _column_widths(plan: layers.Plan) -> list[float]:
    card = PILL_WIDTH + STEM + 2 * NODE_RADIUS
    return [END_WIDTH if d in (0, plan.depth) else card for d in range(plan.depth + 1)]


def _column_lefts(widths: Sequence[float]) -> list[float]:
    lefts, x = [], MARGIN
    for width in widths:
        lefts.append(x)
        x += width + GUTTER
    return lefts


def _box(
    vertex: int,
    plan: layers.Plan,
    lefts: Sequence[float],
    widths: Sequence[float],
) -> _Box:
    column = plan.depths[vertex]
    left = lefts[column]
    return _Box(left=left, right=left + widths[column], y=plan.middles[vertex] + MARGIN)


def _port(box: _Box, port: int, count: int) -> float:
    step = PILL_HEIGHT + PILL_GAP
    return box.y + (port - (count - 1) / 2) * step


def _edges(
    nodes: Sequence[Sequence[tuple[str, int]]],
    links: Sequence[layers.Link],
    plan: layers.Plan,
    boxes: Mapping[int, _Box],
    lefts: Sequence[float],
    widths: Sequence[float],
    inputs: int,
) -> Iterator[str]:
    for link in links:
        to_output = link.target == len(nodes) + inputs
        box = boxes[link.target]
        if to_output:
            spread = (link.port - (len(nodes) - 1) / 2) * 5
            end, colour = (box.left, box.y + spread), "currentColor"
        else:
            edges = nodes[link.target - inputs]
            end = (box.left, _port(box, link.port, len(edges)))
            colour = colour_of(edges[link.port][0])
        path = _path(boxes[link.source], end, plan.lanes.get(link, ()), lefts, widths)
        yield svg.element(
            "path",
            d=path,
            fill="none",
            stroke=colour,
            stroke_linecap="round",
            stroke_width=1.5 if to_output else 2.25,
            stroke_opacity=0.3 if to_output else 0.9,
        )


def _path(
    start: _Box,
    end: tuple[float, float],
    lanes: Sequence[tuple[int, float]],
    lefts: Sequence[float],
    widths: Sequence[float],
) -> str:
    x, y = start.right, start.y
    drawn = [f"M{svg.number(x)} {svg.number(y)}"]
    for column, lane in lanes:
        drawn.append(_bend(x, y, lefts[column], lane + MARGIN))
        x, y = lefts[column] + widths[column], lane + MARGIN
        drawn.append(f"H{svg.number(x)}")
    drawn.append(_bend(x, y, *end))
    return "".join(drawn)


def _bend(x: float, y: float, to_x: float, to_y: float) -> str:
    half = (x + to_x) / 2
    points = (half, y, half, to_y, to_x, to_y)
    return "C" + " ".join(svg.number(point) for point in points)


def _node(index: int, edges: Sequence[tuple[str, int]], box: _Box, inputs: int) -> Iterator[str]:
    centre = box.right - NODE_RADIUS
    for port, (operation, source) in enumerate(edges):
        y = _port(box, port, len(edges))
        colour = colour_of(operation)
        join = _bend(box.left + PILL_WIDTH, y, centre - NODE_RADIUS, box.y)
        yield svg.element(
            "path",
            d=f"M{svg.number(box.left + PILL_WIDTH)} {svg.number(y)}{join}",
            fill="none",
            stroke=colour,
            stroke_width=2.25,
            stroke_opacity=0.9,
        )
        yield svg.element(
            "g",
            svg.tip(f"{operation}: {_name(source, inputs)} → node {index}"),
            svg.element(
                "rect",
                x=box.left,
                y=y - PILL_HEIGHT / 2,
                width=PILL_WIDTH,
                rx=6,
                height=PILL_HEIGHT,
                fill=colour,
                fill_opacity=0.18,
                stroke=colour,
            ),
            svg.text(
                svg.shorten(operation, 16),
                box.left + PILL_WIDTH / 2,
                y,
                text_anchor="middle",
                font_size=11.5,
            ),
        )
    yield svg.element(
        "circle",
        cx=centre,
        cy=box.y,
        r=NODE_RADIUS,
        stroke_width=1.5,
        fill="currentColor",
        fill_opacity=0.08,
        stroke="currentColor",
    )
    yield svg.text(index, centre, box.y, text_anchor="middle", font_weight=600)


def _name(source: int, inputs: int) -> str:
    return _input(source, inputs) if source < inputs else f"node {source - inputs}"


def _input(source: int, inputs: int) -> str:
    return f"c_{{k-{inputs - source}}}"


def _end(label: str, box: _Box) -> str:
    return svg.element(
        "g",
        svg.element(
            "rect",
            x=box.left,
            y=box.y - 14,
            width=END_WIDTH,
            height=28,
            rx=14,
            fill="currentColor",
            fill_opacity=0.08,
            stroke="currentColor",
            stroke_width=1.5,
        ),
        _subscripted(label, (box.left + box.right) / 2, box.y),
    )


def _subscripted(label: str, x: float, y: float) -> str:
    base, below = label.replace("}", "").split("_{")
    lowered = svg.element(
        "tspan", svg.plain(below.replace("-", "\N{MINUS SIGN}")), dy=4, font_size=9
    )
    return svg.element(
        "text",
        svg.plain(base),
        lowered,
        x=x,
        y=y,
        text_anchor="middle",
        fill="currentColor",
        dominant_baseline="central",
        font_style="italic",
    )


def colour_of(operation: str) -> str:
    """The colour an operation has in every picture."""
    return COLOUR_OF.get(operation, svg.ROSE)
