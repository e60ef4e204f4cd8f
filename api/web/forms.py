"""What the pages' forms send, turned into the same bodies that the API takes, and back."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, TypeVar
from uuid import UUID

from fastapi import Depends, Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData

from api import problems
from api.pruning_bodies import PruningBody
from api.schemas import (
    IngestBody,
    IntakeBody,
    PretrainBody,
    RetrainingBody,
    SpaceBody,
    TrainingBody,
)
from api.search_bodies import AtMostBody, BudgetBody, SearchBody
from core.domain.searches import IngestSpec
from core.errors import Detail, InvalidInput

Wanted = TypeVar("Wanted", bound=BaseModel)
Typed = Mapping[str, Sequence[str]]
Fields = Mapping[str, Any]

TRAINING = ("epochs", "batch_size", "seed")
SPACE = ("channels", "layers", "resolution")
INTAKE = ("seed", "test_share", "unreadable_share")
INTAKE_TEXTS = ("name", "group", "label", "licence", "source", "parent_id")
# The parts of a search, and what their fields' names begin with in the form.
PARTS: Final[Mapping[str, tuple[type[BaseModel], str]]] = {
    "training": (TrainingBody, ""),
    "space": (SpaceBody, ""),
    "retraining": (RetrainingBody, "retraining."),
    "at_most": (AtMostBody, "at_most."),
    "budget": (BudgetBody, "budget."),
}
ALONE = ("head", "adapt", "patience", "retrain_epochs", "retrain_learning_rate", "selection",
         "trade_offs", "contribute", "priority")  # fmt: skip
SUPERNET = "supernet:"
LEARNED: Final = {"source": "source_id", "mask": "mask_from", "by": "mask"}
HOURS = "deadline_hours"
LONGEST_HOURS = 24 * 365
FORM_TYPES = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})
MOST_FIELDS = 80


async def form(request: Request) -> FormData:
    """The fields of a small form."""
    return await fields(request, most=MOST_FIELDS)


async def fields(request: Request, *, most: int) -> FormData:
    """The fields of a form that has so many at most, and no files."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media not in FORM_TYPES:  # would read as a form with every field left to its default
        raise InvalidInput("This address takes a form.", code="unsupported_media_type")
    return await request.form(max_files=0, max_fields=most)


FormDep = Annotated[FormData, Depends(form)]


def search(form: FormData, dataset_id: UUID) -> SearchBody:
    """The search form; fields left empty take the defaults."""
    body: dict[str, Any] = {"dataset_id": dataset_id, **_values(form, ALONE)}
    for part, (kind, prefix) in PARTS.items():
        body[part] = _values(form, kind.model_fields, prefix)
    policy = _text(form, "policy")
    if policy.startswith(SUPERNET):
        body |= {"policy": "supernet", "supernet_id": policy.removeprefix(SUPERNET)}
    elif policy:
        body["policy"] = policy
    body["objectives"] = [each for each in form.getlist("objectives") if isinstance(each, str)]
    if rates := _text(form, "learning_rates"):
        body["learning_rates"] = [_number(rate.strip()) for rate in rates.split(",")]
    if labels := _text(form, "labels"):
        body["labels"] = dict(_label(each) for each in labels.split(","))
    if cells := _text(form, "genotype"):
        body["genotype"] = _json(cells)
    if hours := _text(form, HOURS):
        body["deadline"] = _deadline(_number(hours))
    return _validated(SearchBody, body)


def with_control(form: FormData) -> bool:
    """Whether the same search is asked for from nothing, too."""
    return _text(form, "control") == "true"


def typed(form: FormData) -> Typed:
    """What is in the form, for it to be shown again."""
    named = dict.fromkeys(form)
    return {name: [each for each in form.getlist(name) if isinstance(each, str)] for name in named}


def asked(spec: Mapping[str, Any], priority: int) -> Typed:
    """What to type for such a search: no more than differs from the defaults, and no deadline."""
    usual = SearchBody(dataset_id=spec["dataset_id"]).model_dump(mode="json")
    told = {**_changed(spec, usual, ALONE), "policy": str(spec["policy"])}
    for part, (kind, prefix) in PARTS.items():
        told |= _changed(spec.get(part) or {}, usual[part], kind.model_fields, prefix)
    if spec.get("supernet_id") is not None:
        told["policy"] = f"{SUPERNET}{spec['supernet_id']}"
    if rates := spec.get("learning_rates"):
        told["learning_rates"] = ", ".join(map(str, rates))
    if labels := spec.get("labels"):
        told["labels"] = ", ".join(f"{name}={value}" for name, value in labels.items())
    if genotype := spec.get("genotype"):
        told["genotype"] = json.dumps(genotype, separators=(",", ":"))
    if priority:
        told["priority"] = str(priority)
    return {name: [text] for name, text in told.items()} | {
        "objectives": list(spec.get("objectives") or ())
    }


def pretrain(form: FormData, dataset_id: UUID) -> PretrainBody:
    """The pretraining form."""
    body = _base(form, dataset_id) | {"name": _text(form, "name")}
    if rate := _text(form, "learning_rate"):
        body["learning_rate"] = _number(rate)
    return _validated(PretrainBody, body)


def prune(form: FormData, dataset_id: UUID) -> PruningBody:
    """The form of a pruning; fields left empty take the defaults."""
    names = set(PruningBody.model_fields) - {"dataset_id", "labels", "masks_from"}
    body = {"dataset_id": dataset_id, **_values(form, names)}
    kind, _, identifier = _text(form, "learned").partition(":")
    if kind in LEARNED:
        body[LEARNED[kind]] = identifier
    return _validated(PruningBody, body)


def ingest(form: FormData, asked: IngestSpec) -> IngestBody:
    """The form that tries refused uploads with other options; fields left empty stay usual."""
    body = {
        "uploads": asked.uploads,
        "name": asked.name,
        "licence": asked.licence,
        "source": asked.source,
        "parent_id": asked.parent_id,
        **_intake(form),
    }
    return _validated(IngestBody, body)


def intake(form: Fields) -> IntakeBody:
    """What the upload form says beside its archive; fields left empty stay usual."""
    return _validated(IntakeBody, _intake(form))


def _intake(form: Fields) -> dict[str, Any]:
    texts = {name: text for name in INTAKE_TEXTS if (text := _text(form, name))}
    return {**texts, **_numbers(form, INTAKE)}


def _values(form: FormData, names: Iterable[str], prefix: str = "") -> dict[str, Any]:
    found = {name: _text(form, prefix + name) for name in names}
    return {name: _value(text) for name, text in found.items() if text}


def _changed(
    told: Mapping[str, Any], usual: Mapping[str, Any], names: Iterable[str], prefix: str = ""
) -> dict[str, str]:
    return {
        prefix + name: str(told[name]).lower() if isinstance(told[name], bool) else str(told[name])
        for name in names
        if told.get(name) is not None and told[name] != usual[name]
    }


def _json(text: str) -> Any:
    """What it says; what is no JSON stays text, for validation to refuse by name."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _label(text: str) -> tuple[str, str | None]:
    name, equals, value = text.partition("=")
    return name.strip(), value.strip() if equals else None


def _deadline(hours: int | float | str) -> str:
    """So many hours from now, as a body says it."""
    if isinstance(hours, str) or not 0 < hours <= LONGEST_HOURS:  # NaN is neither
        message = f"give hours from now, {LONGEST_HOURS:,} at most"
        raise problems.refused([Detail(HOURS, "invalid", message)])
    return (datetime.now(UTC) + timedelta(hours=hours)).isoformat()


def _base(form: FormData, dataset_id: UUID) -> dict[str, Any]:
    return {
        "dataset_id": dataset_id,
        "training": _numbers(form, TRAINING),
        "space": _numbers(form, SPACE),
    }


def _numbers(form: Fields, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: _number(text) for name in names if (text := _text(form, name))}


def _text(form: Fields, name: str) -> str:
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


def _value(text: str) -> bool | int | float | str:
    return text == "true" if text in {"true", "false"} else _number(text)


def _validated(wanted: type[Wanted], body: Mapping[str, Any]) -> Wanted:
    try:
        return wanted.model_validate(body)
    except ValidationError as error:
        raise problems.invalid(error.errors()) from error
