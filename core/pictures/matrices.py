"""Heat maps: confusion matrices, class-to-class couplings, architecture parameters."""

import math
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from core.pictures import scales, svg

WIDEST_CELL, NARROWEST_CELL = 44.0, 5.0
PLOT = 560.0
NUMBERS_FROM = 26.0
LABELS_FROM = 9.0
LONGEST_LABEL = 22
MOST_TIPS = 2_500
NOTHING = ".00"
Links = Mapping[tuple[int, int], str]


def draw_matrix(
    values: Sequence[Sequence[float]],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    title: str,
    row_label: str = "",
    column_label: str = "",
    peak: float | None = None,
    unit: str = "",
    links: Links = MappingProxyType({}),
) -> str:
    """A heat map: one hue, stronger is larger; negative values take the opposite hue. At `peak`
    (else the largest value) the hue is full. `unit` is said of a value that is pointed at; `links`
    are where cells lead, by row and column."""
    size = _cell_size(max(len(rows), len(columns), 1))
    left, top = _margin(rows, size, row_label), _margin(columns, size, column_label)
    width = left + size * len(columns) + 12
    height = top + size * len(rows) + 12
    body = [
        *_names(rows, columns, size=size, left=left, top=top),
        *_axis_labels(row_label, column_label, left=left, top=top, width=width, height=height),
        *_cells(
            values,
            rows=rows,
            columns=columns,
            size=size,
            left=left,
            top=top,
            peak=peak,
            unit=unit,
            links=links,
        ),
        svg.element(
            "rect",
            x=left,
            y=top,
            width=size * len(columns),
            height=size * len(rows),
            fill="none",
            stroke="currentColor",
            stroke_opacity=0.25,
        ),
    ]
    width = max(width, 160)
    role = "figure" if links else "img"
    return svg.document(width, height, title=title, kind="matrix", body=body, role=role)


def _cell_size(count: int) -> float:
    return min(WIDEST_CELL, max(NARROWEST_CELL, PLOT / count))


def _margin(names: Sequence[str], size: float, axis: str) -> float:
    labelled = size >= LABELS_FROM
    longest = max((svg.text_width(svg.shorten(n, LONGEST_LABEL), 11) for n in names), default=0.0)
    return (longest if labelled else 0.0) + 16 + (20 if axis else 0)


def _names(
    rows: Sequence[str], columns: Sequence[str], *, size: float, left: float, top: float
) -> Iterator[str]:
    if size < LABELS_FROM:
        return
    font = min(11.0, size * 0.95)
    for index, name in enumerate(rows):
        yield svg.text(
            svg.shorten(name, LONGEST_LABEL),
            left - 7,
            top + (index + 0.5) * size,
            text_anchor="end",
            font_size=font,
        )
    short = [svg.shorten(name, LONGEST_LABEL) for name in columns]
    flat = all(svg.text_width(name, font) <= size - 2 for name in short)
    for index, name in enumerate(short):
        x = left + (index + 0.5) * size
        turn = None if flat else f"rotate(-90 {svg.number(x)} {svg.number(top - 7)})"
        anchor = "middle" if flat else "start"
        yield svg.text(
            name, x, top - (11 if flat else 7), font_size=font, transform=turn, text_anchor=anchor
        )


def _axis_labels(
    row_label: str, column_label: str, *, left: float, top: float, width: float, height: float
) -> Iterator[str]:
    if column_label:
        yield svg.text(
            f"{column_label} →", (left + width - 12) / 2, 9, text_anchor="middle", opacity=0.75
        )
    if row_label:
        y = (top + height - 12) / 2
        yield svg.text(
            f"← {row_label}",
            9,
            y,
            text_anchor="middle",
            opacity=0.75,
            transform=f"rotate(-90 9 {svg.number(y)})",
        )


def _cells(
    values: Sequence[Sequence[float]],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    size: float,
    left: float,
    top: float,
    peak: float | None,
    unit: str,
    links: Links,
) -> Iterator[str]:
    peak = (
        peak
        or max((abs(v) for row in values for v in row if math.isfinite(v)), default=0.0)
        or 1.0
    )
    tipped = len(rows) * len(columns) <= MOST_TIPS
    for i, row in enumerate(values[: len(rows)]):
        for j, value in enumerate(row[: len(columns)]):
            if not math.isfinite(value) or value == 0:
                continue
            x, y = left + j * size, top + i * size
            said = f"{rows[i]} → {columns[j]}: {scales.label(value)} {unit}".rstrip()
            cell = svg.element(
                "rect",
                svg.tip(said) if tipped else "",
                x=x,
                y=y,
                width=size,
                height=size,
                fill=svg.BLUE if value > 0 else svg.ORANGE,
                fill_opacity=0.06 + 0.72 * min(1.0, abs(value) / peak),
            )
            href = links.get((i, j))
            yield svg.element("a", cell, href=href, aria_label=said) if href else cell
            if size >= NUMBERS_FROM and _short(value) != NOTHING:
                yield svg.text(
                    _short(value),
                    x + size / 2,
                    y + size / 2,
                    text_anchor="middle",
                    font_size=min(12.0, size * 0.34),
                    pointer_events="none",
                )


def _short(value: float) -> str:
    if float(value).is_integer():
        return f"{value:.0f}"
    return f"{value:.2f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.1f}"
