"""Training another architecture of those that a search had to choose from."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from api.web import forms
from api.web.metrics import mapping, sequence
from core.domain.searches import Model, ModelId, Search
from core.errors import NotFound
from core.services import models

FROM = "chosen-from"  # the label that names the model of that search
TRAINED_BY = ("seed", "batch_size", "weight_decay", "fit_batch")
SPACE = ("channels", "layers", "nodes", "cells")


def fields(search: Search, model: Model, genotype: Any) -> dict[str, str]:
    """What to send for it: the space of the model, and as long and with the same settings and seed
    as that was retrained. Nothing is searched, so no supernet teaches."""
    asked, start = search.spec, mapping(search.start)
    training = mapping(asked.get("training"))
    space = mapping(asked.get("space"))
    searched = mapping(start.get("space")) or space
    epochs = len(sequence(mapping(model.metrics.get("retrained")).get("history"))) - 1
    spec = {
        "dataset_id": search.dataset_id,
        "policy": "cold",
        "training": {name: training.get(name) for name in TRAINED_BY},
        "space": {name: searched.get(name) for name in SPACE}
        | {"resolution": start.get("resolution") or space.get("resolution")},
        "retrain_epochs": epochs if epochs > 0 else asked.get("retrain_epochs"),
        "retrain_learning_rate": asked.get("retrain_learning_rate"),
        "retraining": {**mapping(asked.get("retraining")), "distillation": None},
        "labels": {FROM: str(model.id)},
        "genotype": genotype,
    }
    return {name: texts[0] for name, texts in forms.asked(spec, 0).items() if texts}


def origin(session: Session, search: Search) -> ModelId | None:
    """The model beside which its architecture was chosen, if that is told and here."""
    if search.spec.get("genotype") is None:
        return None
    try:
        return models.get(session, ModelId(UUID(mapping(search.spec.get("labels"))[FROM]))).id
    except (KeyError, ValueError, NotFound):
        return None
