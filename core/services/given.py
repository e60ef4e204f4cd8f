"""An architecture that is given: what its request may say beside it. Pure."""

from collections.abc import Iterator
from typing import Any

from core.domain.searches import AtMost, SearchSpec, Selection, StartPolicy, TradeOffs
from core.errors import Detail
from core.nas.genotype import Genotype

_NOTHING = "Leave it out: a given architecture is not searched for."


def problems(spec: SearchSpec) -> Iterator[Detail]:
    """All that does not go together, if the request gives an architecture."""
    if spec.genotype is None:
        return
    yield from _cells(spec, spec.genotype)
    if spec.policy is not StartPolicy.COLD:
        message = "Give 'cold': a given architecture has nothing to start from."
        yield Detail("policy", "invalid", message)
    searching = {
        "learning_rates": spec.learning_rates is not None,
        "patience": bool(spec.patience),
        "selection": spec.selection is not Selection.MAGNITUDE,
        "at_most": spec.at_most != AtMost(),
        "objectives": bool(spec.objectives),
        "trade_offs": spec.trade_offs is not TradeOffs.NSGA2,
        "contribute": spec.contribute,
    }
    for place, asked in searching.items():
        if asked:
            yield Detail(place, "invalid", _NOTHING)
    if spec.retraining.distillation:
        message = "Give 0: a given architecture has no supernet to learn from."
        yield Detail("retraining.distillation", "invalid", message)


def _cells(spec: SearchSpec, told: Any) -> Iterator[Detail]:
    space = spec.space
    try:
        found = Genotype.from_dict(told)
    except ValueError as error:
        message = f"Give the cells as a model tells them: {error}."
        yield Detail("genotype", "invalid", message)
        return
    if found.cells != space.cells:
        message = f"Give cells of {space.cells}, or 'space.cells' {found.cells}."
        yield Detail("genotype", "invalid", message)
    elif len(found.normal) != space.nodes:
        message = f"Give cells of {space.nodes} nodes, or 'space.nodes' {len(found.normal)}."
        yield Detail("genotype", "invalid", message)
