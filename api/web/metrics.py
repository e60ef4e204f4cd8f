"""Reading a model's free-form metrics: whatever is missing or odd is simply not shown."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.domain.searches import Model, Search, limit_of
from core.nas.genotype import Genotype
from core.pictures.curves import Series

ACCURACIES = (
    ("supernet", "Supernet", "the mixture that was searched"),
    ("discretised", "Discretised", "the derived network, before retraining"),
    ("retrained", "Retrained", "the network you download"),
)
_HEADS = {
    "random": "random head",
    "closed_form": "head solved once",
    "closed_form_every_epoch": "head solved every epoch",
}


@dataclass(frozen=True, slots=True)
class Accuracy:
    """One of the three accuracies that must not be mixed up."""

    name: str
    explained: str
    test: float | None
    valid: float | None


def accuracies(model: Model) -> tuple[Accuracy, ...]:
    """Supernet, discretised, retrained: kept apart. A given architecture has the last alone."""
    found = []
    for key, name, explained in ACCURACIES:
        values = mapping(model.metrics.get(key))
        test, valid = number(values.get("test_accuracy")), number(values.get("valid_accuracy"))
        found.append(Accuracy(name, explained, test, valid))
    return tuple(found)


def best_arm(model: Model) -> Mapping[str, Any]:
    """The search run, of one learning rate, that the model came from."""
    arms = sequence(model.metrics.get("arms"))
    index = model.metrics.get("best_arm")
    if isinstance(index, int) and 0 <= index < len(arms):
        return mapping(arms[index])
    return mapping(arms[0]) if arms else {}


def history(model: Model) -> list[Mapping[str, Any]]:
    """The epochs of the best arm."""
    return [mapping(row) for row in sequence(best_arm(model).get("history"))]


def ending(model: Model, search: Search) -> str | None:
    """How the best arm's search ended early, and how long the model was retrained; None where it
    ran to its end."""
    last = (history(model) or [{}])[-1]
    if not isinstance(last.get("stopped"), str):
        return None
    asked = mapping(search.spec.get("training")).get("epochs")
    retrained = sequence(mapping(model.metrics.get("retrained")).get("history"))
    return (
        f"The search ended after {last.get('epoch')} of {asked} epochs ({last['stopped']}); "
        f"the model was retrained for {max(0, len(retrained) - 1)}."
    )


def best_validation(model: Model) -> float | None:
    """The highest validation accuracy of any epoch."""
    return max(
        (
            found
            for row in history(model)
            if (found := number(row.get("valid_accuracy"))) is not None
        ),
        default=None,
    )


def series(name: str, rows: Sequence[Mapping[str, Any]], key: str) -> Series:
    """One column of a history as a line, by epoch."""
    points = [
        (x, y)
        for position, row in enumerate(rows)
        if (y := number(row.get(key))) is not None
        and (x := number(row.get("epoch", position + 1))) is not None
    ]
    return Series(name, [x for x, _ in points], [y for _, y in points])


def seconds(model: Model) -> float | None:
    """What the search itself cost, all its learning rates together."""
    spent = [number(mapping(arm).get("seconds")) for arm in sequence(model.metrics.get("arms"))]
    known = [value for value in spent if value is not None]
    return sum(known) if known else None


def is_cold(search: Search) -> bool:
    """Whether it searched from random weights: as asked, or for want of anything better."""
    if is_given(search):
        return False
    start = mapping(search.start)
    nothing = "supernet_id" in start and start["supernet_id"] is None
    return nothing or str(search.spec.get("policy", "")) == "cold"


def is_given(search: Search) -> bool:
    """Whether its architecture was given, and nothing was searched."""
    return search.spec.get("genotype") is not None


def started_from(search: Search) -> str:
    """Where a search began, in a few words."""
    policy = str(search.spec.get("policy", ""))
    start = mapping(search.start)
    if is_given(search):
        return "given architecture"
    if is_cold(search):
        return "cold"
    source = start.get("dataset_name") or start.get("supernet_name") or start.get("source")
    return f"warm from {source}" if source else f"warm ({policy})"


def label(search: Search) -> str:
    """How a search is called where several are compared."""
    parts = [started_from(search)]
    if search.spec.get("head") and not is_given(search):
        parts.append(_HEADS.get(str(search.spec["head"]), str(search.spec["head"])))
    seed = mapping(search.spec.get("training")).get("seed")
    if seed is not None:
        parts.append(f"seed {seed}")
    if limit := limit_of(search.spec):
        parts.append(f"at most {limit}")
    return ", ".join(parts)


def genotype(value: Any) -> Genotype | None:
    """The value if it is the JSON form of a genotype."""
    try:
        return Genotype.from_json(json.dumps(value))
    except ValueError:
        return None


def mapping(value: Any) -> Mapping[str, Any]:
    """The value if it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def sequence(value: Any) -> Sequence[Any]:
    """The value if it is a list, else an empty one."""
    return value if isinstance(value, Sequence) and not isinstance(value, str) else ()


def number(value: Any) -> float | None:
    """The value if it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:  # a whole number beyond all floats
        return None
    return found if math.isfinite(found) else None
