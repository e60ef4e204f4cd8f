"""What the pages' forms send, turned into the same bodies that the API takes."""

from collections.abc import Mapping
from typing import Any, TypeVar
from uuid import UUID

from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData

from api import problems
from api.schemas import IngestBody, PretrainBody, SearchBody
from core.domain.searches import IngestSpec

Wanted = TypeVar("Wanted", bound=BaseModel)

TRAINING = ("epochs", "batch_size", "seed")
SPACE = ("channels", "layers", "resolution")
INTAKE = ("seed", "test_share", "unreadable_share")


def search(form: FormData, dataset_id: UUID) -> SearchBody:
    """The search form; fields left empty take the defaults."""
    body = _base(form, dataset_id)
    policy = _text(form, "policy")
    if policy.startswith("supernet:"):
        body |= {"policy": "supernet", "supernet_id": policy.removeprefix("supernet:")}
    elif policy:
        body["policy"] = policy
    for name in ("head", "selection"):
        if chosen := _text(form, name):
            body[name] = chosen
    for place, name in (("training", "method"), ("space", "cells")):
        if chosen := _text(form, name):
            body[place] |= {name: chosen}
    body["objectives"] = [each for each in form.getlist("objectives") if isinstance(each, str)]
    body["contribute"] = _text(form, "contribute") == "true"
    if rates := _text(form, "learning_rates"):
        body["learning_rates"] = [_number(rate.strip()) for rate in rates.split(",")]
    body |= _numbers(form, ("patience", "retrain_epochs"))
    return _validated(SearchBody, body)


def pretrain(form: FormData, dataset_id: UUID) -> PretrainBody:
    """The pretraining form."""
    body = _base(form, dataset_id) | {"name": _text(form, "name")}
    if rate := _text(form, "learning_rate"):
        body["learning_rate"] = _number(rate)
    return _validated(PretrainBody, body)


def ingest(form: FormData, asked: IngestSpec) -> IngestBody:
    """The form that tries refused uploads with other options; fields left empty stay usual."""
    body = {
        "uploads": asked.uploads,
        "name": _text(form, "name") or asked.name,
        "licence": asked.licence,
        "source": asked.source,
        "parent_id": asked.parent_id,
        **_numbers(form, INTAKE),
        **{name: text for name in ("group", "label") if (text := _text(form, name))},
    }
    return _validated(IngestBody, body)


def _base(form: FormData, dataset_id: UUID) -> dict[str, Any]:
    return {
        "dataset_id": dataset_id,
        "training": _numbers(form, TRAINING),
        "space": _numbers(form, SPACE),
    }


def _numbers(form: FormData, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: _number(text) for name in names if (text := _text(form, name))}


def _text(form: FormData, name: str) -> str:
    value = form.get(name, "")
    return value.strip() if isinstance(value, str) else ""


def _number(text: str) -> int | float | str:
    """The number a field holds; what is not one stays text, for validation to refuse by name."""
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return text


def _validated(wanted: type[Wanted], body: Mapping[str, Any]) -> Wanted:
    try:
        return wanted.model_validate(body)
    except ValidationError as error:
        raise problems.invalid(error.errors()) from error
