"""The result page: what was found, how good it is, and against what."""

from functools import partial
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from api.deps import ContainerDep, SessionDep
from api.web import (
    charts,
    choice_plots,
    choice_rows,
    chosen,
    confusion_rows,
    cost_rows,
    metrics,
    model_rows,
    neighbour_charts,
    neighbourhood,
    pages,
    race_rows,
)
from core.domain.datasets import Dataset, DatasetId
from core.domain.searches import Model, ModelId, Search, limit_of
from core.services import datasets, jobs, models, searches

router = APIRouter(prefix="/models")

MOST_COMPARED = 12


@router.get("")
def index(session: SessionDep, page_token: str | None = None) -> Response:
    """All models, newest first."""
    found, token = models.listing(session, limit=50, after=page_token)
    return pages.render("models.html", models=model_rows.rows(session, found), token=token)


@router.get("/{model_id}")
def show(
    model_id: UUID, request: Request, session: SessionDep, container: ContainerDep
) -> Response:
    """One model with its evidence."""
    model = models.get(session, ModelId(model_id))
    dataset = datasets.remembered(session, DatasetId(model.dataset_id))
    search = searches.get(session, model.search_id)
    finished = _finished(session, search, model)
    job = jobs.get(session, search.job_id)
    return pages.render(
        "model.html",
        model=model,
        server=str(request.base_url).rstrip("/"),
        keyed=container.settings.auth == "keys",
        dataset=dataset,
        search=search,
        job=job,
        started=metrics.label(search),
        given=metrics.is_given(search),
        chosen_from=chosen.origin(session, search),
        accuracies=_shown(search, model),
        cells=charts.cells(metrics.genotype(model.genotype)),
        candidates=choice_rows.candidates(model.metrics),
        scored=choice_rows.count(model.metrics),
        choices=choice_plots.draw(model),
        trade_offs=choice_rows.trade_offs(model),
        train_one=partial(chosen.fields, search, model),
        training=charts.training(model),
        ending=metrics.ending(model, search),
        parameters=metrics.number(model.metrics.get("parameters")),
        flops=metrics.number(model.metrics.get("flops")),
        limit=limit_of(search.spec),
        learning_rate=metrics.number(metrics.best_arm(model).get("learning_rate")),
        comparison=charts.comparison(finished) if len(finished) > 1 else None,
        rows=[_row(each, made) for each, made in finished],
        head_start=cost_rows.head_start(search, model, finished),
        costs=cost_rows.stages(search, model, job.cost_seconds),
        has_control=any(metrics.is_cold(each) for each, _ in finished),
        **_confusions(model, dataset),
        **_begun(search),
    )


def _confusions(model: Model, dataset: Dataset) -> dict[str, Any]:
    """What it takes for what."""
    counts = confusion_rows.matrix(model)
    return {
        "confusion": charts.confusion(dataset, counts),
        "confused": confusion_rows.heaviest(model, dataset, counts),
        "classes": confusion_rows.by_class(dataset, counts),
        "shown_classes": confusion_rows.MOST_CLASSES,
    }


def _begun(search: Search) -> dict[str, Any]:
    """Why its search started there."""
    ranking, start = search.ranking, metrics.mapping(search.start)
    return {
        "ranking": ranking,
        "distances": neighbour_charts.distances(ranking) if ranking else None,
        "told": neighbourhood.summary(ranking) if ranking else {},
        "race": race_rows.decided(start),
        "raced": race_rows.summary(start),
        "expected": race_rows.expected(start),
    }


def _finished(session: Session, search: Search, model: Model) -> list[tuple[Search, Model]]:
    """This search and the newest other finished ones on the same dataset, oldest first."""
    made, _ = models.listing(session, limit=MOST_COMPARED, dataset_id=model.dataset_id)
    others = [each for each in made if each.id != model.id]
    made_by = searches.several(session, {each.search_id for each in others})
    pairs = [(search, model), *((made_by[each.search_id], each) for each in others)]
    return sorted(pairs, key=lambda pair: pair[1].created_at)


def _shown(search: Search, model: Model) -> tuple[metrics.Accuracy, ...]:
    found = metrics.accuracies(model)
    return found[-1:] if metrics.is_given(search) else found


def _row(search: Search, model: Model) -> dict[str, object]:
    found = metrics.accuracies(model)
    return {
        "id": model.id,
        "label": metrics.label(search),
        "best_valid": metrics.best_validation(model),
        "accuracies": [each.test for each in found],
        "parameters": metrics.number(model.metrics.get("parameters")),
        "seconds": metrics.seconds(model),
        "learning_rate": metrics.number(metrics.best_arm(model).get("learning_rate")),
    }
