"""A thin bar cut into shares of a whole: what one number is made of, beside it in a table."""

import math
from collections.abc import Iterator, Sequence

from core.pictures import svg

WIDTH, HEIGHT = 120.0, 12.0


def draw_shares(parts: Sequence[tuple[str, float]], *, title: str) -> str:
    """Named parts of a whole, each as wide as its share; nothing is drawn of what is not more
    than zero."""
    sizes = [(name, size if math.isfinite(size) and size > 0 else 0.0) for name, size in parts]
    return svg.document(WIDTH, HEIGHT, title=title, kind="shares", body=_pieces(sizes))


def _pieces(sizes: Sequence[tuple[str, float]]) -> Iterator[str]:
    whole = sum(size for _, size in sizes)
    reached = 0.0
    for index, (name, size) in enumerate(sizes):
        if not size:
            continue
        share = size / whole
        yield svg.element(
            "rect",
            svg.tip(f"{name}: {100 * share:.0f} %"),
            x=reached,
            y=0,
            width=share * WIDTH,
            height=HEIGHT,
            fill=svg.SERIES[index % len(svg.SERIES)],
            fill_opacity=0.85,
        )
        reached += share * WIDTH
