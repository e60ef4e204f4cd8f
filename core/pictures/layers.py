"""A small layered graph layout: columns by depth, rows by barycentre, lanes for long edges.

After Sugiyama, Tagawa and Toda (1981), for graphs of a dozen vertices.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

SWEEPS = 8


@dataclass(frozen=True, slots=True)
class Link:
    """An edge into the `port`-th place of its target."""

    source: int
    target: int
    port: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Where everything goes: a column and a middle per vertex, and lanes for long edges.

    `lanes` lists, for an edge that passes columns, each column it passes and at which height.
    """

    depth: int
    height: float
    depths: Mapping[int, int]
    middles: Mapping[int, float]
    lanes: Mapping[Link, tuple[tuple[int, float], ...]]


Slot = int | tuple[Link, int]  # a vertex, or an edge passing through a column


def arrange(
    links: Sequence[Link], *, count: int, heights: Mapping[int, float], lane: float, gap: float
) -> Plan:
    """Place `count` vertices, numbered so that every link goes from a lower to a higher one."""
    depths = _depths(links, count)
    chains = {link: _chain(link, depths) for link in links}
    columns: list[list[Slot]] = [[] for _ in range(max(depths.values()) + 1)]
    for vertex in range(count):
        columns[depths[vertex]].append(vertex)
    for chain in chains.values():
        for slot in chain[1:-1]:
            if isinstance(slot, tuple):
                columns[slot[1]].append(slot)
    sizes = {slot: heights[slot] if isinstance(slot, int) else lane for c in columns for slot in c}
    middles = _order(columns, chains, sizes, gap)
    return Plan(
        depth=len(columns) - 1,
        height=max(middles[slot] + sizes[slot] / 2 for column in columns for slot in column),
        depths=depths,
        middles={slot: y for slot, y in middles.items() if isinstance(slot, int)},
        lanes={
            link: tuple((slot[1], middles[slot]) for slot in chain if isinstance(slot, tuple))
            for link, chain in chains.items()
        },
    )


def _depths(links: Sequence[Link], count: int) -> dict[int, int]:
    depths = dict.fromkeys(range(count), 0)
    for link in sorted(links, key=lambda each: each.target):
        depths[link.target] = max(depths[link.target], depths[link.source] + 1)
    return depths


def _chain(link: Link, depths: Mapping[int, int]) -> tuple[Slot, ...]:
    passed = range(depths[link.source] + 1, depths[link.target])
    return (link.source, *((link, column) for column in passed), link.target)


def _order(
    columns: list[list[Slot]],
    chains: Mapping[Link, tuple[Slot, ...]],
    sizes: Mapping[Slot, float],
    gap: float,
) -> dict[Slot, float]:
    """Sort the columns by the barycentre of their neighbours; keep the tidiest order seen."""
    segments = [pair for chain in chains.values() for pair in pairwise(chain)]
    before: dict[Slot, list[Slot]] = defaultdict(list)
    after: dict[Slot, list[Slot]] = defaultdict(list)
    for first, second in segments:
        after[first].append(second)
        before[second].append(first)
    column_of = {slot: index for index, column in enumerate(columns) for slot in column}
    middles = _stack(columns, sizes, gap)
    best, best_mess = middles, _mess(segments, column_of, middles)
    for sweep in range(SWEEPS):
        neighbours = before if sweep % 2 == 0 else after
        for column in columns if sweep % 2 == 0 else reversed(columns):
            column.sort(key=lambda slot: _barycentre(slot, neighbours, middles))
            middles = _stack(columns, sizes, gap)
        mess = _mess(segments, column_of, middles)
        if mess < best_mess:
            best, best_mess = middles, mess
    return best


def _barycentre(
    slot: Slot, neighbours: Mapping[Slot, list[Slot]], middles: Mapping[Slot, float]
) -> float:
    around = neighbours.get(slot, [])
    return sum(middles[each] for each in around) / len(around) if around else middles[slot]


def _stack(
    columns: Sequence[Sequence[Slot]], sizes: Mapping[Slot, float], gap: float
) -> dict[Slot, float]:
    totals = [sum(sizes[s] for s in column) + gap * (len(column) - 1) for column in columns]
    tallest, middles = max(totals), {}
    for column, total in zip(columns, totals, strict=True):
        y = (tallest - total) / 2
        for slot in column:
            middles[slot] = y + sizes[slot] / 2
            y += sizes[slot] + gap
    return middles


def _mess(
    segments: Sequence[tuple[Slot, Slot]],
    column_of: Mapping[Slot, int],
    middles: Mapping[Slot, float],
) -> float:
    """Crossings count most, then the climbing every edge has to do."""
    crossings = 0
    for i, (a, b) in enumerate(segments):
        for c, d in segments[i + 1 :]:
            if column_of[a] == column_of[c]:
                crossings += (middles[a] - middles[c]) * (middles[b] - middles[d]) < 0
    return crossings * 200 + sum(abs(middles[a] - middles[b]) for a, b in segments)
