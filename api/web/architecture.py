"""How a search's cells became what they are: its alphas and what they prefer, epoch by epoch."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from api.web import charts, metrics, words
from core.domain.jobs import JobRecord
from core.nas.genotype import Genotype
from core.nas.space import CELL_SPACES, CellSpace
from core.pictures.matrices import draw_matrix

KINDS = (("normal", "Normal cell"), ("reduction", "Reduction cell"))

Picture = tuple[str, Markup]  # and what it is called


@dataclass(frozen=True, slots=True)
class Moment:
    """One epoch of one run of a search, among those that are known."""

    stage: str
    stages: tuple[str, ...]
    epoch: int
    first: int
    last: int
    alphas: list[Picture]
    cells: list[Picture]
    facts: list[tuple[str, str]]


def moment(
    records: Sequence[JobRecord],
    *,
    stage: str | None = None,
    epoch: int | None = None,
    of: int | None = None,
) -> Moment | None:
    """That epoch, or the one nearest to it; the latest, where none is asked for or it was the
    last `of` what the asker knew: who looks at the end follows the search. None where nothing
    is known, as of releases that did not record it."""
    runs: dict[str, dict[int, tuple[Mapping[str, Any], Genotype]]] = {}
    for record in records:
        if (found := metrics.genotype(record.values.get("genotype"))) is not None:
            runs.setdefault(record.stage, {})[record.step] = record.values, found
    if not runs:
        return None
    chosen = stage if stage in runs else next(reversed(runs))
    steps = runs[chosen]
    first, last = min(steps), max(steps)
    follows = epoch is None or epoch == of
    shown = last if follows else min(steps, key=lambda each: abs(each - (epoch or 0)))
    row, genotype = steps[shown]
    return Moment(
        stage=chosen,
        stages=tuple(runs),
        epoch=shown,
        first=first,
        last=last,
        alphas=_alphas(row, genotype),
        cells=charts.cells(genotype),
        facts=_facts(row, genotype),
    )


def softmaxed(alphas: Mapping[str, Sequence[Sequence[float]]], space: str) -> list[Picture]:
    """Raw alphas by the kind of their cell, as what each edge weighs its operations by."""
    found = []
    for kind, name in KINDS:
        weights = [_softmax(row) for row in alphas.get(kind, ())]
        if (picture := _heat(weights, name, CELL_SPACES[space])) is not None:
            found.append((name, picture))
    return found


def _softmax(row: Sequence[float]) -> list[float]:
    powers = [math.exp(each - max(row)) for each in row]
    return [each / sum(powers) for each in powers]


def _alphas(row: Mapping[str, Any], found: Genotype) -> list[Picture]:
    space = CELL_SPACES[found.cells]
    return [
        (name, picture)
        for kind, name in KINDS
        if (picture := _heat(metrics.sequence(row.get(f"alphas_{kind}")), name, space))
    ]


def _heat(rows: Sequence[Any], name: str, space: CellSpace) -> Markup | None:
    values = [[metrics.number(each) or 0.0 for each in metrics.sequence(row)] for row in rows]
    if not values or {len(row) for row in values} != {len(space.operations)}:
        return None
    return Markup(
        draw_matrix(
            values,
            rows=_edges(len(values), space.inputs),
            columns=space.operations,
            title=f"{name}: how much each operation weighs on each edge",
            row_label="edge",
            peak=0.5,
        )
    )


def _edges(count: int, inputs: int) -> list[str]:
    """What the rows of alphas are called: the cell's inputs as in its drawing, nodes by number."""
    names = ["k\N{MINUS SIGN}2", "k\N{MINUS SIGN}1"][-inputs:]
    edges: list[str] = []
    while len(edges) < count:
        node = str(len(names) - inputs)
        edges += [f"{source} → {node}" for source in names]
        names.append(node)
    return edges[:count]


def _facts(row: Mapping[str, Any], found: Genotype) -> list[tuple[str, str]]:
    """What the guard against collapse looks at, and what it said."""
    told = [("Skip connections", str(found.skip_count))]
    if (decided := metrics.number(row.get("decided_skips"))) is not None:
        told.append(("Decided ones", f"{decided:.0f}"))
    for kind, name in KINDS:
        if (entropy := metrics.number(row.get(f"entropy_{kind}"))) is not None:
            told.append((f"Entropy, {name.lower()}", f"{entropy:.2f} nats"))
    if (eigenvalue := metrics.number(row.get("eigenvalue"))) is not None:
        told.append(("Curvature", f"{eigenvalue:.3g}"))
    stopped = row.get("stopped")
    told.append(("Guard", stopped if isinstance(stopped, str) else "healthy"))
    if (accuracy := metrics.number(row.get("valid_accuracy"))) is not None:
        told.append(("Validation accuracy", words.percent(accuracy)))
    return told
