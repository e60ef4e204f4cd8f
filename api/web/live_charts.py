"""A job's course over epochs as charts: beside its control, and as its guard sees it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from api.web import metrics, race_rows, words
from core.domain.jobs import Job, JobKind, JobRecord
from core.nas.space import CELL_SPACES
from core.pictures.curves import Series, draw_curves

Row = Mapping[str, Any]
Arms = Mapping[str, Sequence[Row]]  # of each learning rate its epochs


@dataclass(frozen=True, slots=True)
class Figure:
    """One chart of a stage: the columns of its records that are drawn, by the lines' names."""

    title: str
    y_label: str
    lines: Mapping[str, str]
    y_range: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """The charts of one stage, under its heading."""

    stage: str
    heading: str
    charts: list[Markup]


MOST_ENTROPY = math.log(max(len(each.operations) for each in CELL_SPACES.values()))
FIGURES = (
    Figure(
        "Accuracy",
        "accuracy",
        {"train_accuracy": "training", "valid_accuracy": "validation"},
        (0.0, 1.0),
    ),
    Figure("Loss", "loss", {"train_loss": "training", "valid_loss": "validation"}),
)
SIZE = Figure(
    "Share of the network",
    "share that is left",
    {"cost": "by the masks now", "kept": "if removed now"},
    (0.0, 1.0),
)
WATCHED = (
    Figure(
        "Entropy of the alphas",
        "entropy, nats",
        {"entropy_normal": "normal cell", "entropy_reduction": "reduction cell"},
        (0.0, MOST_ENTROPY),  # of its own range the first thousandths would look like a fall
    ),
    Figure(
        "Skip connections of the normal cell",
        "skip connections",
        {"skip_count": "if derived now", "decided_skips": "that lead their edges"},
    ),
)
NEVER_DRAWN = {race_rows.STAGE, "resume"}


def expected(job: Job) -> tuple[str, ...]:
    """The stages of a job whose charts will come."""
    if job.kind is not JobKind.SEARCH:
        return ()
    return ("retrain",) if job.spec.get("genotype") else ("search", "retrain")


def stages(records: Sequence[JobRecord]) -> dict[str, Arms]:
    """The epochs of each stage, in order."""
    found: dict[str, dict[str, list[Row]]] = {}
    for record in records:
        name, _, arm = record.stage.partition(":")
        if name not in NEVER_DRAWN:
            row = {"epoch": record.step} | dict(record.values)
            found.setdefault(name, {}).setdefault(arm, []).append(row)
    return dict(found)


def sections(
    found: Mapping[str, Arms],
    *,
    rates: Sequence[Any] = (),
    expected: Sequence[str] = (),
    beside: tuple[str, Mapping[str, Arms]] | None = None,
) -> list[Section]:
    """Accuracies and losses of each stage; of those that are `expected` also before they begin,
    so that nothing moves when they do. `beside` is another search by its name, whose validation
    is drawn with this one's."""
    other, theirs = beside or ("", {})
    shown = []
    for stage in dict.fromkeys((*expected, *found)):
        arms, others = found.get(stage, {}), theirs.get(stage, {})
        charts = [
            _chart(figure, [*(own or _awaited(figure)), *lines])
            for figure in ((*FIGURES, SIZE) if stage == "mask" else FIGURES)
            for own, lines in [(_lines(figure, arms, rates), _validation(figure, other, others))]
            if own or lines or stage in expected
        ]
        if charts:
            shown.append(Section(stage, words.stage(stage).capitalize(), charts))
    return shown


def drawn(arms: Arms) -> list[Markup]:
    """Accuracies and losses of one stage."""
    return [_chart(each, lines) for each in FIGURES if (lines := _lines(each, arms, ()))]


def watched(arms: Arms, *, rates: Sequence[Any] = (), most_skips: int | None) -> list[Markup]:
    """What the guard against collapse looks at, epoch by epoch, with the limit it is held to."""
    entropy, skips = WATCHED
    course = _lines(entropy, arms, rates) or _awaited(entropy)
    lines = _lines(skips, arms, rates) or _awaited(skips)
    if most_skips is not None:
        last = max((x for line in lines for x in line.xs), default=0.0)
        lines.append(Series("most that may lead", [0.0, last], [most_skips, most_skips]))
    return [_chart(entropy, course), _chart(skips, lines)]


def _lines(figure: Figure, arms: Arms, rates: Sequence[Any]) -> list[Series]:
    lines = []
    for arm, rows in arms.items():
        several = arm.isdigit() and int(arm) < len(rates) > 1
        before = f"rate {rates[int(arm)]}, " if several else _named(arm)
        lines += [
            metrics.series(before + name, rows, key)
            for key, name in figure.lines.items()
            if arm not in words.ARMS or key.startswith("valid")
        ]
    return [line for line in lines if line.xs]


def _named(arm: str) -> str:
    """What a line of a control is called before all else."""
    return f"{words.ARMS[arm]}, " if arm in words.ARMS else ""


def _awaited(figure: Figure) -> list[Series]:
    """Lines without a point yet: the others keep their colours when they come."""
    return [Series(name, [], []) for name in figure.lines.values()]


def _validation(figure: Figure, name: str, arms: Arms) -> list[Series]:
    keys = [key for key in figure.lines if key.startswith("valid")]
    lines = [metrics.series(name, rows, key) for rows in arms.values() for key in keys]
    return [line for line in lines if line.xs]


def _chart(figure: Figure, lines: Sequence[Series]) -> Markup:
    return Markup(
        draw_curves(
            lines,
            title=figure.title,
            x_label="epoch",
            y_label=figure.y_label,
            y_range=figure.y_range,
        )
    )
