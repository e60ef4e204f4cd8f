"""The cells a search chose from, as its page shows them: what each scored, and what they trade."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api.web import words
from api.web.metrics import mapping, number, sequence

MOST = 12
OBJECTIVES = {
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
class TradeOffs:
    """Cells that no other beats in accuracy and every objective; `rows` go with `headings`."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def candidates(metrics: Mapping[str, Any]) -> list[Candidate]:
    """The best of those that were scored; none where only one was."""
    found = [mapping(each) for each in sequence(_selection(metrics).get("candidates"))]
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
    return len(sequence(_selection(metrics).get("candidates")))


def trade_offs(metrics: Mapping[str, Any]) -> TradeOffs | None:
    """The non-dominated set by falling accuracy; None where no objective was asked for."""
    rows = [mapping(each) for each in sequence(_selection(metrics).get("trade_offs"))]
    named = [name for name in OBJECTIVES if any(name in row for row in rows)]
    if not named:
        return None
    return TradeOffs(
        headings=("accuracy", *(OBJECTIVES[name] for name in named)),
        rows=tuple(
            (words.percent(row.get("accuracy")), *(_cost(name, row.get(name)) for name in named))
            for row in rows
        ),
    )


def _selection(metrics: Mapping[str, Any]) -> Mapping[str, Any]:
    return mapping(metrics.get("selection"))


def _cost(name: str, value: Any) -> str:
    if name != "latency":
        return words.count(value)
    seconds = number(value)
    return words.UNKNOWN if seconds is None else _short(_LATENCY_UNIT * seconds)


def _short(value: Any) -> str:
    found = number(value)
    return words.UNKNOWN if found is None else f"{found:.3g}"
