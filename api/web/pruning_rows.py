"""Prunings as tables and pictures show them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from sqlalchemy.orm import Session

from api.web import live_charts, metrics, words
from core.domain.accuracy import wilson
from core.domain.datasets import DatasetId
from core.domain.prunings import Pruning
from core.pictures.bars import Bar, draw_bars
from core.pictures.fronts import Point, draw_front
from core.services import datasets

Figures = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PruningRow:
    """One line of the list."""

    pruning: Pruning
    dataset_name: str
    architecture: str
    kept: float | None
    parameters: float | None
    accuracy: float | None


@dataclass(frozen=True, slots=True)
class Network:
    """What is left, or one of its controls."""

    name: str
    kept: float | None
    parameters: float | None
    flops: float | None
    accuracy: float | None
    interval: tuple[float, float]


def rows(session: Session, found: Iterable[Pruning]) -> list[PruningRow]:
    """The lines, in the order given."""
    shown = tuple(found)
    names = datasets.called(session, {each.dataset_id for each in shown})
    return [_row(each, names[DatasetId(each.dataset_id)]) for each in shown]


def _row(pruning: Pruning, name: str) -> PruningRow:
    figures = pruning.metrics or {}
    kept, parameters, accuracy = (
        metrics.number(figures.get(each)) for each in ("kept", "parameters", "test_accuracy")
    )
    architecture = str(pruning.spec["architecture"])
    return PruningRow(pruning, name, architecture, kept, parameters, accuracy)


def networks(figures: Figures) -> list[Network]:
    """What was trained: the pruned network, then its controls."""
    images = int(figures["test_images"])
    arms = {"pruned": figures, **metrics.mapping(figures.get("controls"))}
    return [_network(name, each, images) for name, each in arms.items()]


def _network(name: str, figures: Figures, images: int) -> Network:
    kept, parameters, flops, accuracy = (
        metrics.number(figures.get(each))
        for each in ("kept", "parameters", "flops", "test_accuracy")
    )
    between = wilson(accuracy or 0.0, images)
    return Network(words.ARMS.get(name, name), kept, parameters, flops, accuracy, between)


def accuracies(figures: Figures) -> Markup:
    """Test accuracies as bars, with what other test images might have said."""
    bars = [
        Bar(
            each.name,
            (100 * (each.accuracy or 0.0),),
            (100 * each.interval[0], 100 * each.interval[1]),
        )
        for each in networks(figures)
    ]
    return Markup(draw_bars(bars, title="Test accuracy of each network", unit="% of test images"))


def front(found: Iterable[Pruning]) -> Markup | None:
    """Accuracy by size of what was left each time, and of whole networks; None of a single one."""
    points = {point for each in found for point in _points(each)}
    if len(points) < 2:
        return None
    ordered = sorted(points, key=lambda each: (each.x, each.y, each.label))
    drawn = draw_front(
        ordered,
        title="Test accuracy by what is left",
        x_label="parameters, in millions",
        y_label="test accuracy, %",
    )
    return Markup(drawn)


def _points(pruning: Pruning) -> Iterable[Point]:
    figures = pruning.metrics or {}
    whole = metrics.mapping(metrics.mapping(figures.get("controls")).get("full"))
    for each in (figures, whole):
        kept, parameters, accuracy = (
            metrics.number(each.get(name)) for name in ("kept", "parameters", "test_accuracy")
        )
        if parameters is not None and accuracy is not None:
            label = f"{pruning.spec['architecture']}, {words.percent(kept)}"
            yield Point(label, parameters / 1e6, 100 * accuracy)


def groups(figures: Figures) -> Markup:
    """How many channels of each group stay, and how many go."""
    bars = [
        Bar(
            str(each["name"]).removeprefix("body."),
            (float(each["kept"]), float(each["channels"] - each["kept"])),
        )
        for each in figures["groups"]
    ]
    title = "Channels of each group that stay, and that went"
    return Markup(draw_bars(bars, title=title, unit="channels", parts=("stay", "went")))


def course(figures: Figures) -> list[live_charts.Section]:
    """The course of learning the mask and of each training."""
    found: dict[str, live_charts.Arms] = {}
    if history := metrics.mapping(figures.get("search")).get("history"):
        found["mask"] = {"": history}
    arms = {"": figures, **metrics.mapping(figures.get("controls"))}
    found["train"] = {name: each["history"] for name, each in arms.items() if "history" in each}
    return live_charts.sections(found)
