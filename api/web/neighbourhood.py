"""A ranking as the pages tell it: rows with their notes, and one neighbour looked at closely."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from markupsafe import Markup

from api.views.neighbours import PairView
from api.web import evidence, neighbour_charts, words
from core.domain.datasets import Dataset, Neighbour, Ranking
from core.errors import NotFound

SHOWN = neighbour_charts.SHOWN
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


@dataclass(frozen=True, slots=True)
class Closer:
    """The neighbour that the page explains."""

    neighbour: Neighbour
    coupling: Markup | None
    mass: float
    pairs: tuple[PairView, ...]


def told(ranking: Ranking | None, dataset: Dataset, *, closer: UUID | None = None)\
        -> Mapping[str, Any]:  # fmt: skip
    """What the templates show of a ranking. Raises NotFound when `closer` is not in it."""
    if ranking is None or not ranking.neighbours:
        return {"ranking": ranking, "nearest": None}
    return summary(ranking) | {
        "ranking": ranking,
        "nearest": ranking.neighbours[0],
        "runner_up_ties": not _corrected(ranking)
        and any(each.tied_with_nearest for each in ranking.neighbours[1:]),
        "distances": neighbour_charts.distances(ranking),
        "rows": _rows(ranking),
        "more": max(0, len(ranking.neighbours) - SHOWN),
        "scaled": _corrected(ranking),
        "closer": _closer(ranking, closer),
        "map": neighbour_charts.distance_map(ranking, dataset),
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


def _rows(ranking: Ranking) -> list[Row]:
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
        )
        for place, each in enumerate(ranking.neighbours[:SHOWN])
    ]


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


def _closer(ranking: Ranking, wanted: UUID | None) -> Closer:
    found = ranking.neighbours[0]
    if wanted is not None:
        named = [each for each in ranking.neighbours if each.dataset_id == wanted]
        if not named:
            message = "The stored ranking does not list that dataset as a neighbour."
            raise NotFound(message, code="not_a_neighbour")
        found = named[0]
    pairs = tuple(
        PairView.of(pair, target=ranking.dataset_id, source=found.dataset_id)
        for pair in found.pairs[:SHOWN_PAIRS]
    )
    # Of those measured only to be sure of the others, the heaviest entries alone are stored.
    mass = sum(entry for _, _, entry in found.coupling)
    return Closer(found, neighbour_charts.coupling(found), min(1.0, mass), pairs)
