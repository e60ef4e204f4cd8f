"""What lies near a dataset, and why: read from its stored ranking."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session

from api import contract
from api.deps import SessionDep
from api.schemas import MOST_NEIGHBOURS
from api.views.neighbours import MapView, RankingView, WholeNeighbourView
from core.domain.datasets import DatasetId, Ranking
from core.errors import NotFound
from core.services import datasets

router = APIRouter(prefix="/v1/datasets/{dataset_id:uuid}", tags=["datasets"])

Wanted = Annotated[int, Query(ge=1, le=MOST_NEIGHBOURS, description="How many neighbours.")]
SupernetsOnly = Annotated[bool, Query(description="Only those that a search can start from.")]


@router.get(
    "/neighbours",
    operation_id="datasets_neighbours",
    responses=contract.refusals("dataset_deleted", "not_ranked"),
)
def index(
    dataset_id: UUID, session: SessionDep, k: Wanted = 10, supernets_only: SupernetsOnly = False
) -> RankingView:
    """The stored ranking, nearest first; 404 `not_ranked` before there is one."""
    return RankingView.of(_ranking(session, dataset_id), k=k, supernets_only=supernets_only)


@router.get(
    "/neighbours/{source_dataset_id:uuid}",
    operation_id="datasets_neighbour",
    responses=contract.refusals("dataset_deleted", "not_a_neighbour", "not_ranked"),
)
def show(dataset_id: UUID, source_dataset_id: UUID, session: SessionDep) -> WholeNeighbourView:
    """One neighbour with its whole coupling; 404 `not_a_neighbour` when it is not ranked. Of one
    that was deleted since, how far it was and no more."""
    ranking = _ranking(session, dataset_id)
    places = {each.dataset_id: place for place, each in enumerate(ranking.neighbours, start=1)}
    place = places.get(DatasetId(source_dataset_id))
    if place is None:
        message = "The stored ranking does not list that dataset as a neighbour."
        raise NotFound(message, code="not_a_neighbour")
    return WholeNeighbourView.of(
        ranking,
        place,
        target=datasets.get(session, DatasetId(dataset_id)),
        source=datasets.remembered(session, DatasetId(source_dataset_id)),
    )


@router.get(
    "/map",
    operation_id="datasets_map",
    responses=contract.refusals("dataset_deleted", "no_map", "not_ranked"),
)
def show_map(dataset_id: UUID, session: SessionDep) -> MapView:
    """The dataset among its neighbours, in the plane; 404 `no_map` when none was drawn."""
    ranking = _ranking(session, dataset_id)
    if ranking.map is None:
        message = "The stored ranking came without a map: rank the dataset again."
        raise NotFound(message, code="no_map")
    return MapView.of(ranking, ranking.map)


def _ranking(session: Session, dataset_id: UUID) -> Ranking:
    datasets.get(session, DatasetId(dataset_id))
    ranking = datasets.ranking(session, DatasetId(dataset_id))
    if ranking is None:
        raise NotFound("This dataset has not been ranked yet: POST to :rank.", code="not_ranked")
    return ranking
