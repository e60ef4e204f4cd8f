"""Rankings as the API shows them: neighbours, what their places rest on, and the map."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from pydantic import BeforeValidator, Field

from api.views.shapes import FreeForm, View
from core.domain.datasets import (
    Dataset,
    DatasetId,
    DistanceMap,
    ImagePair,
    Measure,
    Nearness,
    Neighbour,
    Ranking,
)

HEAVIEST = 10

Coupling = list[tuple[str, str, float]]


class Exactness(StrEnum):
    """What a list of neighbours may be taken for."""

    EXACT = "exact"  # certainly the nearest, in this order
    APPROXIMATE = "approximate"  # the order of those past `proven` is the best that was found


class PairView(View):
    """Two images that the transport plan matches."""

    target_image: int
    source_image: int
    target_class: str
    source_class: str
    mass: float
    target_href: str
    source_href: str

    @classmethod
    def of(cls, pair: ImagePair, *, target: DatasetId, source: DatasetId) -> "PairView":
        """The pair, with the addresses of both images."""
        return cls(
            target_image=pair.target_image,
            source_image=pair.source_image,
            target_class=pair.target_class,
            source_class=pair.source_class,
            mass=pair.mass,
            target_href=image_href(target, pair.target_image),
            source_href=image_href(source, pair.source_image),
        )


class EvidenceView(View):
    """What is said of a neighbour wherever it is shown.

    `features_part` and `labels_part` add up to the squared distance. Of a dataset that was
    `deleted` since, neither classes nor images are told.
    """

    dataset_id: UUID
    dataset_name: str
    supernet_id: UUID | None
    distance: float
    interval: tuple[float, float]
    tied_with_nearest: bool
    features_part: float
    labels_part: float
    measure: Measure
    samples: Annotated[tuple[int, int], Field(description="Compared: of the target, the source.")]
    hub_share: float | None
    scaled: float | None
    proven: Annotated[bool, Field(description="No other source can lie nearer than this one.")]
    pairs: list[PairView]
    deleted: bool


class NeighbourView(EvidenceView):
    """A ranked source, with the heaviest entries of its coupling: (target class, source class,
    mass). The address of the one neighbour has them all."""

    coupling: Coupling
    coupling_entries: int

    @classmethod
    def of(cls, neighbour: Neighbour, *, target: DatasetId, proven: bool) -> "NeighbourView":
        """The neighbour in a list."""
        return cls(
            **_evidence(neighbour, target=target, proven=proven),
            coupling=list(neighbour.coupling[:HEAVIEST]),
            coupling_entries=len(neighbour.coupling),
        )


class CouplingView(View):
    """The class-to-class coupling whole: `mass[i][j]` goes from the target's class i to the
    source's class j. Masses add up to 1, but for entries too light to be stored."""

    target_classes: list[str]
    source_classes: list[str]
    mass: list[list[float]]

    @classmethod
    def of(cls, coupling: Sequence[tuple[str, str, float]], *, target: Dataset, source: Dataset)\
            -> "CouplingView":  # fmt: skip
        """The stored entries, spread over all classes of both datasets."""
        rows = _positions(target.classes, [row for row, _, _ in coupling])
        columns = _positions(source.classes, [column for _, column, _ in coupling])
        mass = [[0.0] * len(columns) for _ in rows]
        for row, column, value in coupling:
            mass[rows[row]][columns[column]] += value
        return cls(target_classes=list(rows), source_classes=list(columns), mass=mass)


class WholeNeighbourView(EvidenceView):
    """One neighbour, whole."""

    target_id: UUID
    embedder: str
    place: Annotated[int, Field(description="1 is the nearest.")]
    coupling: CouplingView

    @classmethod
    def of(cls, ranking: Ranking, place: int, *, target: Dataset, source: Dataset)\
            -> "WholeNeighbourView":  # fmt: skip
        """The neighbour at this place (from 1) of the ranking."""
        neighbour = ranking.neighbours[place - 1]
        return cls(
            **_evidence(neighbour, target=target.id, proven=place <= ranking.proven),
            target_id=target.id,
            embedder=ranking.embedder,
            place=place,
            coupling=CouplingView.of(neighbour.coupling, target=target, source=source),
        )


class VerdictView(View):
    """Whether the nearest source is near by the registry's own standard: `share` of `references`
    registered datasets lie at least as far from their own nearest as `nearest`; beyond `threshold`
    it would be far."""

    nearness: Nearness
    nearest: float
    threshold: float | None
    share: float | None
    references: int


class RankingView(View):
    """Neighbours, nearest first; the first `proven` of them are certain to be the nearest of all
    `sources`. `ranked` counts what the stored ranking holds, shown here or not."""

    dataset_id: UUID
    embedder: str
    sources: int
    ranked: int
    proven: int
    exactness: Exactness
    verdict: VerdictView | None
    neighbours: list[NeighbourView]
    seconds: float
    settings: FreeForm

    @classmethod
    def of(
        cls, ranking: Ranking, *, k: int | None = None, supernets_only: bool = False
    ) -> "RankingView":
        """The first `k` (all when left out); only those with a supernet, if asked."""
        # What is certain of the first `proven` stays so among the chosen: whatever was not
        # measured lies behind all of them, with a supernet or without.
        chosen = [
            (each, place < ranking.proven)
            for place, each in enumerate(ranking.neighbours)
            if each.supernet_id is not None or not supernets_only
        ][:k]
        proven = sum(certain for _, certain in chosen)
        exact = proven == len(chosen)
        verdict = ranking.verdict
        return cls(
            dataset_id=ranking.dataset_id,
            embedder=ranking.embedder,
            sources=ranking.sources,
            ranked=len(ranking.neighbours),
            proven=proven,
            exactness=Exactness.EXACT if exact else Exactness.APPROXIMATE,
            verdict=None if verdict is None else VerdictView.model_validate(verdict),
            neighbours=[
                NeighbourView.of(each, target=ranking.dataset_id, proven=certain)
                for each, certain in chosen
            ],
            seconds=ranking.seconds,
            settings=dict(ranking.settings),
        )


def _whole_ranking(value: object) -> object:
    return RankingView.of(value) if isinstance(value, Ranking) else value


StoredRanking = Annotated[RankingView, BeforeValidator(_whole_ranking)]


class MapPointView(View):
    """A dataset's place on the map."""

    dataset_id: UUID
    name: str
    x: float
    y: float
    is_target: bool
    deleted: bool


class MapView(View):
    """The target and what lies around it, in the plane: distances on paper approximate those of
    the kind `measure`. `stress` 0 is perfect; above 0.3 read only the coarsest order from it."""

    dataset_id: UUID
    embedder: str
    measure: Measure
    stress: float
    points: list[MapPointView]

    @classmethod
    def of(cls, ranking: Ranking, drawn: DistanceMap) -> "MapView":
        """The map that was stored with a ranking."""
        return cls(
            dataset_id=ranking.dataset_id,
            embedder=ranking.embedder,
            measure=Measure.CLASSES,
            stress=drawn.stress,
            points=[
                MapPointView(
                    dataset_id=each.dataset_id,
                    name=each.dataset_name,
                    x=each.x,
                    y=each.y,
                    is_target=each.dataset_id == ranking.dataset_id,
                    deleted=each.deleted,
                )
                for each in drawn.points
            ],
        )


def image_href(dataset_id: DatasetId, index: int) -> str:
    """Where one train image of a dataset is."""
    return f"/v1/datasets/{dataset_id}/images/{index}.png"


def _evidence(neighbour: Neighbour, *, target: DatasetId, proven: bool) -> dict[str, Any]:
    return {
        "dataset_id": neighbour.dataset_id,
        "dataset_name": neighbour.dataset_name,
        "supernet_id": neighbour.supernet_id,
        "distance": neighbour.distance,
        "interval": neighbour.interval,
        "tied_with_nearest": neighbour.tied_with_nearest,
        "features_part": neighbour.features_part,
        "labels_part": neighbour.labels_part,
        "measure": neighbour.measure,
        "samples": neighbour.samples,
        "hub_share": neighbour.hub_share,
        "scaled": neighbour.scaled,
        "proven": proven,
        "deleted": neighbour.deleted,
        "pairs": [
            PairView.of(pair, target=target, source=neighbour.dataset_id)
            for pair in neighbour.pairs
        ],
    }


def _positions(known: Sequence[str], used: Sequence[str]) -> dict[str, int]:
    """Class names in the dataset's order, and where each stands."""
    return {name: index for index, name in enumerate(dict.fromkeys([*known, *used]))}
