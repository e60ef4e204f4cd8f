"""A ranking as the pages tell it: rows with their notes, and one neighbour looked at closely."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from markupsafe import Markup
from sqlalchemy.orm import Session

from api.views.neighbours import PairView
from api.web import evidence, neighbour_charts, words
from core.domain.datasets import Dataset, DatasetId, Neighbour, Ranking
from core.errors import NotFound
from core.services import datasets

Pictured = Mapping[DatasetId, tuple[str, ...]]

SHOWN = neighbour_charts.SHOWN
SHOWN_CLASSES = 3  # of a dataset on the map
SHOWN_PAIRS = 6


@dataclass(frozen=True, slots=True)
class Row:
    """One neighbour in the table."""

    neighbour: Neighbour
    certain: bool
    measure: str
    notes: tuple[str, ...]
    parts: Markup | None
    made_of: str
    examples: bool


@dataclass(frozen=True, slots=True)
class Card:
    """What is told of a dataset that is pointed at on the map, with the classes to be shown."""

    dataset_id: UUID
    name: str
    told: str
    classes: tuple[str, ...]
    href: str


@dataclass(frozen=True, slots=True)
class Closer:
    """The neighbour that the page explains."""

    neighbour: Neighbour
    coupling: Markup | None
    mass: float
    pairs: tuple[PairView, ...]
    classes: tuple[str, str] | None


def pictured(session: Session, ranking: Ranking | None) -> Pictured:
    """The datasets whose images may be shown beside a ranking."""
    if ranking is None:
        return {}
    named = {each.dataset_id for each in ranking.neighbours[:SHOWN]}
    if ranking.map is not None:
        named |= {each.dataset_id for each in ranking.map.points}
    return datasets.classes_shown(session, named)


def told(
    ranking: Ranking | None,
    dataset: Dataset,
    pictured: Pictured,
    *,
    closer: UUID | None = None,
    classes: tuple[str, str] | None = None,
) -> Mapping[str, Any]:
    """What the templates show of a ranking. Raises NotFound when `closer` is not in it.
    Of its matched images those of two `classes` are shown, if these are given."""
    if ranking is None or not ranking.neighbours:
        return {"ranking": ranking, "nearest": None}
    return summary(ranking) | {
        "ranking": ranking,
        "nearest": ranking.neighbours[0],
        "runner_up_ties": not _corrected(ranking)
        and any(each.tied_with_nearest for each in ranking.neighbours[1:]),
        "distances": neighbour_charts.distances(ranking),
        "rows": _rows(ranking, pictured),
        "more": max(0, len(ranking.neighbours) - SHOWN),
        "scaled": _corrected(ranking),
        "closer": _closer(ranking, closer, classes),
        "map": neighbour_charts.distance_map(ranking, dataset),
        "cards": _cards(ranking, pictured),
        "layout": None if ranking.map is None else evidence.layout(ranking.map.stress),
    }


def summary(ranking: Ranking) -> dict[str, str]:
    """The two sentences that belong to every ranking, wherever it is shown."""
    verdict = ranking.verdict
    shown = len(ranking.neighbours[:SHOWN])
    return {
        "certainty": evidence.certainty(
            proven=min(ranking.proven, shown), shown=shown, sources=ranking.sources
        ),
        "verdict": ""
        if verdict is None
        else evidence.verdict(
            nearness=verdict.nearness.value,
            nearest=verdict.nearest,
            threshold=verdict.threshold,
            share=verdict.share,
            references=verdict.references,
        ),
    }


def _rows(ranking: Ranking, pictured: Pictured) -> list[Row]:
    nearness = None if ranking.verdict is None else ranking.verdict.nearness.value
    corrected = _corrected(ranking)
    return [
        Row(
            neighbour=each,
            certain=place < ranking.proven,
            measure=evidence.measure(each.measure.value, each.samples),
            notes=_notes(each, place + 1, nearness, corrected=corrected),
            parts=neighbour_charts.parts(each),
            made_of=_made_of(each),
            examples=each.dataset_id in pictured,
        )
        for place, each in enumerate(ranking.neighbours[:SHOWN])
    ]


def _cards(ranking: Ranking, pictured: Pictured) -> list[Card]:
    ranked = {each.dataset_id: each for each in ranking.neighbours}
    cards = []
    for point in ranking.map.points if ranking.map is not None else ():
        target = point.dataset_id == ranking.dataset_id
        away = neighbour_charts.measured(ranked.get(point.dataset_id))
        href = "" if target or point.deleted else f"/datasets/{point.dataset_id}"
        classes = pictured.get(point.dataset_id, ())[:SHOWN_CLASSES]
        told = "this dataset" if target else away
        cards.append(Card(point.dataset_id, words.called(point), told, classes, href))
    return cards


def _corrected(ranking: Ranking) -> bool:
    return any(each.scaled is not None for each in ranking.neighbours)


def _notes(
    each: Neighbour, place: int, nearness: str | None, *, corrected: bool
) -> tuple[str, ...]:
    tied = evidence.tie(place=place, tied=each.tied_with_nearest, corrected=corrected)
    return tuple(note for note in (tied, evidence.hub(each.hub_share, nearness=nearness)) if note)


def _made_of(each: Neighbour) -> str:
    share = neighbour_charts.features_share(each)
    if share is None:
        return words.UNKNOWN
    return f"{100 * share:.0f} % features, {100 * (1 - share):.0f} % labels"


def _closer(ranking: Ranking, wanted: UUID | None, classes: tuple[str, str] | None) -> Closer:
    found = ranking.neighbours[0]
    if wanted is not None:
        named = [each for each in ranking.neighbours if each.dataset_id == wanted]
        if not named:
            message = "The stored ranking does not list that dataset as a neighbour."
            raise NotFound(message, code="not_a_neighbour")
        found = named[0]
    pairs = tuple(
        PairView.of(pair, target=ranking.dataset_id, source=found.dataset_id)
        for pair in [
            each
            for each in neighbour_charts.matched(found)
            if classes in (None, (each.target_class, each.source_class))
        ][:SHOWN_PAIRS]
    )
    # Of those measured only to be sure of the others, the heaviest entries alone are stored.
    mass = sum(entry for _, _, entry in found.coupling)
    return Closer(found, neighbour_charts.coupling(found), min(1.0, mass), pairs, classes)
