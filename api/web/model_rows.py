"""Models as the tables show them: on which dataset, from where, how good."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy.orm import Session

from api.web import metrics
from api.web.metrics import Accuracy
from core.domain.datasets import DatasetId
from core.domain.searches import Model
from core.services import datasets, searches


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One line."""

    model: Model
    dataset_name: str
    started: str
    accuracies: tuple[Accuracy, ...]


def rows(session: Session, models: Iterable[Model]) -> list[ModelRow]:
    """The lines, in the order given."""
    return [
        ModelRow(
            model,
            datasets.remembered(session, DatasetId(model.dataset_id)).name,
            metrics.label(searches.get(session, model.search_id)),
            metrics.accuracies(model),
        )
        for model in models
    ]
