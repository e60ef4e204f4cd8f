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
    parameters: float | None


def rows(session: Session, models: Iterable[Model]) -> list[ModelRow]:
    """The lines, in the order given."""
    shown = tuple(models)
    names = datasets.called(session, {each.dataset_id for each in shown})
    made_by = searches.several(session, {each.search_id for each in shown})
    return [
        ModelRow(
            each,
            names[DatasetId(each.dataset_id)],
            metrics.label(made_by[each.search_id]),
            metrics.accuracies(each),
            metrics.number(each.metrics.get("parameters")),
        )
        for each in shown
    ]
