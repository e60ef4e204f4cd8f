"""The result page: what was found, how good it is, and against what."""

from uuid import UUID

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.responses import Response

from api.deps import SessionDep
from api.web import (
    charts,
    choice_rows,
    metrics,
    model_rows,
    neighbour_charts,
    neighbourhood,
    pages,
    race_rows,
)
from core.domain.datasets import DatasetId
from core.domain.searches import Model, ModelId, Search
from core.services import datasets, jobs, models, searches

router = APIRouter(prefix="/models")

MOST_COMPARED = 12


@router.get("")
def index(session: SessionDep, page_token: str | None = None) -> Response:
    """All models, newest first."""
    found, token = models.listing(session, limit=50, after=page_token)
    return pages.render("models.html", models=model_rows.rows(session, found), token=token)


@router.get("/{model_id}")
def show(model_id: UUID, session: SessionDep) -> Response:
    """One model with its evidence."""
    model = models.get(session, ModelId(model_id))
    dataset = datasets.remembered(session, DatasetId(model.dataset_id))
    search = searches.get(session, model.search_id)
    finished = _finished(session, search, model)
    ranking = search.ranking
    return pages.render(
        "model.html",
        model=model,
        dataset=dataset,
        search=search,
        job=jobs.get(session, search.job_id),
        started=metrics.label(search),
        accuracies=metrics.accuracies(model),
        cells=charts.cells(model),
        candidates=choice_rows.candidates(model.metrics),
        scored=choice_rows.count(model.metrics),
        trade_offs=choice_rows.trade_offs(model.metrics),
        training=charts.training(model),
        ending=metrics.ending(model, search),
        confusion=charts.confusion(model, dataset),
        ranking=ranking,
        distances=neighbour_charts.distances(ranking) if ranking else None,
        told=neighbourhood.summary(ranking) if ranking else {},
        race=race_rows.decided(metrics.mapping(search.start)),
        raced=race_rows.summary(metrics.mapping(search.start)),
        expected=race_rows.expected(metrics.mapping(search.start)),
        parameters=metrics.number(model.metrics.get("parameters")),
        flops=metrics.number(model.metrics.get("flops")),
        learning_rate=metrics.number(metrics.best_arm(model).get("learning_rate")),
        comparison=charts.comparison(finished) if len(finished) > 1 else None,
        rows=[_row(each, made) for each, made in finished],
        has_control=any(metrics.is_cold(each) for each, _ in finished),
        control=_control_fields(search),
    )


def _finished(session: Session, search: Search, model: Model) -> list[tuple[Search, Model]]:
    """This search and the newest other finished ones on the same dataset, oldest first."""
    made, _ = models.listing(session, limit=MOST_COMPARED, dataset_id=model.dataset_id)
    others = [(searches.get(session, each.search_id), each) for each in made]
    others = [pair for pair in others if pair[1].id != model.id]
    return sorted([(search, model), *others], key=lambda pair: pair[1].created_at)


def _row(search: Search, model: Model) -> dict[str, object]:
    found = metrics.accuracies(model)
    return {
        "id": model.id,
        "label": metrics.label(search),
        "best_valid": metrics.best_validation(model),
        "accuracies": [each.test for each in found],
        "seconds": metrics.seconds(model),
        "learning_rate": metrics.number(metrics.best_arm(model).get("learning_rate")),
    }


def _control_fields(search: Search) -> dict[str, object]:
    """The form that runs the same search from nothing: same budget, same head, same seed."""
    training, start = metrics.mapping(search.spec.get("training")), metrics.mapping(search.start)
    space = metrics.mapping(start.get("space")) or metrics.mapping(search.spec.get("space"))
    rates = metrics.sequence(search.spec.get("learning_rates"))
    named = {key: training.get(key) for key in ("epochs", "batch_size", "seed")}
    named |= {key: space.get(key) for key in ("channels", "layers", "resolution")}
    named |= {key: search.spec.get(key) for key in ("head", "patience", "retrain_epochs")}
    named |= {"policy": "cold", "learning_rates": ", ".join(str(rate) for rate in rates)}
    return {key: value for key, value in named.items() if value not in (None, "")}
