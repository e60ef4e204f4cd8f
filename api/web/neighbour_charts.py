"""Pictures of a ranking: distances, what they are made of, couplings, the map."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from markupsafe import Markup

from api.web import words
from core.domain.datasets import Dataset, DistanceMap, ImagePair, Neighbour, Ranking
from core.pictures.bars import Bar, draw_bars
from core.pictures.matrices import draw_matrix
from core.pictures.scatter import Spot, draw_scatter
from core.pictures.shares import draw_shares

SHOWN = 10
MOST_CLASSES = 30
NOTHING = 1e-9  # of the mass
TARGET, RANKED, REST = range(3)


def distances(ranking: Ranking) -> Markup | None:
    """The nearest sources by distance, with their intervals."""
    shown = ranking.neighbours[:SHOWN]
    if not shown:
        return None
    bars = [Bar(words.called(each), (each.distance,), each.interval) for each in shown]
    return Markup(draw_bars(bars, title="Distance to each source", unit="dataset distance (OTDD)"))


def parts(neighbour: Neighbour) -> Markup | None:
    """The squared distance cut into its two parts; nothing of what was only estimated."""
    if features_share(neighbour) is None:
        return None
    cut = (("features", neighbour.features_part), ("labels", neighbour.labels_part))
    title = f"Parts of the squared distance to {words.called(neighbour)}"
    return Markup(draw_shares(cut, title=title))


def features_share(neighbour: Neighbour) -> float | None:
    """The share of the squared distance that comes from features."""
    whole = neighbour.features_part + neighbour.labels_part
    return neighbour.features_part / whole if whole > 0 else None


def coupling(neighbour: Neighbour) -> Markup | None:
    """Which classes of the target lie near which classes of the source; of many classes the
    heaviest, the rest in one row and one column."""
    rows = _axis([(target, mass) for target, _, mass in neighbour.coupling])
    columns = _axis([(source, mass) for _, source, mass in neighbour.coupling])
    if not rows:
        return None
    height, width = max(rows.values()) + 1, max(columns.values()) + 1
    values = [[0.0] * width for _ in range(height)]
    for target, source, mass in neighbour.coupling:
        values[rows[target]][columns[source]] += mass
    # The rest may hold most of the mass: measured by it, single matches would all look pale.
    peak = max((v for row in values[: _kept(rows)] for v in row[: _kept(columns)]), default=None)
    title = f"Class-to-class coupling with {words.called(neighbour)}"
    return Markup(
        draw_matrix(
            values,
            rows=_names(rows),
            columns=_names(columns),
            title=title,
            row_label="this dataset",
            column_label=neighbour.dataset_name,
            peak=peak,
            unit="of the mass",
            links=_matched(neighbour, rows, columns),
        )
    )


def matched(neighbour: Neighbour) -> tuple[ImagePair, ...]:
    """The matched images, but for what solvers leave where nothing is moved."""
    return tuple(each for each in neighbour.pairs if each.mass > NOTHING)


def _matched(
    neighbour: Neighbour, rows: Mapping[str, int], columns: Mapping[str, int]
) -> dict[tuple[int, int], str]:
    """To the matched images of two classes, where both have a place of their own."""
    named = {(each.target_class, each.source_class) for each in matched(neighbour)}
    kept = _kept(rows), _kept(columns)
    source = neighbour.dataset_id
    return {
        (rows[row], columns[column]): "?"
        + urlencode({"source": source, "row": row, "column": column})
        + "#matched"
        for row, column in named
        if rows.get(row, kept[0]) < kept[0] and columns.get(column, kept[1]) < kept[1]
    }


def _axis(masses: Sequence[tuple[str, float]]) -> dict[str, int]:
    """Each class and its place: the heaviest, then one place for all others.

    Places go by the heaviest entry of a class, so that matches gather at the diagonal.
    """
    total: defaultdict[str, float] = defaultdict(float)
    for name, mass in masses:
        total[name] += mass
    most = len(total) if len(total) <= MOST_CLASSES + 1 else MOST_CLASSES
    heaviest = set(sorted(total, key=lambda name: -total[name])[:most])
    kept = [name for name in total if name in heaviest]
    places = {name: place for place, name in enumerate(kept)}
    return places | {name: len(kept) for name in total if name not in heaviest}


def _kept(axis: Mapping[str, int]) -> int:
    """How many places are a class of their own."""
    places = max(axis.values()) + 1
    return places if len(axis) == places else places - 1


def _names(axis: dict[str, int]) -> list[str]:
    kept = _kept(axis)
    names = [name for name, place in axis.items() if place < kept]
    return names if len(axis) == kept else [*names, f"{len(axis) - kept} others"]


def distance_map(ranking: Ranking, dataset: Dataset) -> Markup | None:
    """The target among its neighbours and some of the rest, each a link to its page."""
    if ranking.map is None or not ranking.map.points:
        return None
    ranked = {each.dataset_id: each for each in ranking.neighbours}
    nearest = ranking.neighbours[0].dataset_id if ranking.neighbours else None
    spots = []
    for each in ranking.map.points:
        target = each.dataset_id == ranking.dataset_id
        group = TARGET if target else RANKED if each.dataset_id in ranked else REST
        told = measured(ranked.get(each.dataset_id))
        spots.append(
            Spot(
                words.called(each),
                each.x,
                each.y,
                group,
                marked=target,
                ringed=each.dataset_id == nearest,
                href="" if target or each.deleted else f"/datasets/{each.dataset_id}",
                told=words.called(each) + (f": {told}" if told and not target else ""),
                key=str(each.dataset_id),
            )
        )
    groups = ("this dataset", "its neighbours, the nearest ringed", "other datasets")
    return Markup(
        draw_scatter(
            spots,
            title=f"Map of the datasets around {dataset.name}",
            description=_described(ranking.map, ranking),
            groups=groups[: max(spot.group for spot in spots) + 1],
            unit="by class statistics",
        )
    )


def measured(neighbour: Neighbour | None) -> str:
    """How far away it is, as far as that is known."""
    if neighbour is None:
        return "not among the nearest"
    low, high = neighbour.interval
    return f"distance {neighbour.distance:.4g}, 95 % interval {low:.4g} to {high:.4g}"


def _described(drawn: DistanceMap, ranking: Ranking) -> str:
    """The map in words: who lies nearest to the target on it."""
    target = next((p for p in drawn.points if p.dataset_id == ranking.dataset_id), None)
    if target is None:
        return f"{len(drawn.points)} datasets."
    others = [point for point in drawn.points if point is not target]
    others.sort(key=lambda point: math.hypot(point.x - target.x, point.y - target.y))
    nearest = ", ".join(words.called(point) for point in others[:3])
    return f"{len(drawn.points)} datasets; on the map, nearest first: {nearest}."
