"""The cells a search chose from, as its page shows them: what each scored, and what they trade."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api.web import words
from api.web.metrics import genotype, mapping, number, sequence
from core.domain.searches import Model

MOST = 12
UNITS = {
    "parameters": "parameters",
    "flops": "multiply-adds",
    "latency": "milliseconds",
}
_LATENCY_UNIT = 1000.0  # measured in seconds


@dataclass(frozen=True, slots=True)
class Candidate:
    """One pair of cells; the first of a list is the most accurate."""

    origin: str
    accuracy: str
    loss: str
    parameters: str


@dataclass(frozen=True, slots=True)
class TradeOff:
    """One pair of cells by its figures, and whether it is the one that was retrained."""

    figures: tuple[str, ...]
    genotype: Any
    retrained: bool

    @property
    def offered(self) -> bool:
        """Whether it may be trained, too: not without a genotype that can be read."""
        return not self.retrained and genotype(self.genotype) is not None


@dataclass(frozen=True, slots=True)
class TradeOffs:
    """Cells that no other beats in accuracy and every objective; figures go with `headings`."""

    headings: tuple[str, ...]
    rows: tuple[TradeOff, ...]
    refined: bool


def candidates(metrics: Mapping[str, Any]) -> list[Candidate]:
    """The best of those that were scored; none where only one was."""
    found = [mapping(each) for each in sequence(selection(metrics).get("candidates"))]
    if len(found) < 2:
        return []
    return [
        Candidate(
            origin=str(each.get("origin", "")),
            accuracy=words.percent(each.get("accuracy")),
            loss=_short(each.get("loss")),
            parameters=words.count(each.get("parameters")),
        )
        for each in found[:MOST]
    ]


def count(metrics: Mapping[str, Any]) -> int:
    """How many were scored."""
    return len(sequence(selection(metrics).get("candidates")))


def trade_offs(model: Model) -> TradeOffs | None:
    """The non-dominated set by falling accuracy; None where no objective was asked for."""
    rows = [mapping(each) for each in sequence(selection(model.metrics).get("trade_offs"))]
    named = [name for name in UNITS if any(name in row for row in rows)]
    if not named:
        return None
    return TradeOffs(
        headings=("accuracy", *(UNITS[name] for name in named)),
        rows=tuple(
            TradeOff(
                (
                    words.percent(row.get("accuracy")),
                    *(cost(name, row.get(name)) for name in named),
                ),
                row.get("genotype"),
                row.get("genotype") == model.genotype,
            )
            for row in rows
        ),
        refined=selection(model.metrics).get("trade_offs_by") == "refined",
    )


def selection(metrics: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a model says of how its cells were chosen."""
    return mapping(metrics.get("selection"))


def cost(name: str, value: Any) -> str:
    """What a cell costs by this objective, in its unit."""
    if name != "latency":
        return words.count(value)
    seconds = number(value)
    return words.UNKNOWN if seconds is None else _short(_LATENCY_UNIT * seconds)


def _short(value: Any) -> str:
    found = number(value)
    return words.UNKNOWN if found is None else f"{found:.3g}"
