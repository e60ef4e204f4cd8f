"""One bilevel search followed epoch by epoch: recorded, reported and resumable."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from core.domain.effort import SPENT
from core.domain.jobs import JobRecord
from core.domain.searches import HeadInit, Training
from core.errors import Diverged, InvalidInput
from core.nas import methods, precision, search, warm_start
from core.nas.guard_config import GuardConfig
from core.nas.images import LabelledImages
from core.nas.ranks import TooFewImages
from core.nas.search import EpochRecord, SearchConfig, SearchState
from core.nas.space import Space
from core.nas.supernet import Supernet
from core.pipelines import together
from core.pipelines.meter import Meter

INPUT_CHANNELS = 3  # grey images are repeated, so that any source fits any target
START_UNITS = 0.25  # measuring the start, in epochs
# Long: recorded live, not kept in the history.
_CELLS = ("alphas_normal", "alphas_reduction", "genotype")


@dataclass(slots=True)
class Course:
    """One search on its way: what to train, on what, and its history so far."""

    state: SearchState
    train: LabelledImages
    valid: LabelledImages
    config: SearchConfig
    stage: str
    seconds: float
    history: list[dict[str, Any]] = field(default_factory=list)


def configure(
    training: Training,
    learning_rate: float,
    *,
    head: HeadInit = HeadInit.RANDOM,
    patience: int = 0,
) -> SearchConfig:
    """The loop's settings. Raises ValueError naming what is out of range."""
    guard = GuardConfig(max_skips=training.max_skips).within(training.epochs)
    return SearchConfig(
        epochs=training.epochs,
        batch_size=training.batch_size,
        learning_rate=learning_rate,
        learning_rate_min=min(1e-3, learning_rate),
        weight_decay=training.weight_decay,
        alpha_learning_rate=training.alpha_learning_rate,
        seed=training.seed,
        paths=training.paths,
        generalisation_gap=training.generalisation_gap,
        solve_head=head is HeadInit.EVERY_EPOCH,
        recompute=training.recompute,
        precision=precision.named(training.precision),
        guard=guard if training.guard else None,
        patience=patience,
    )


def generator(seed: int) -> torch.Generator:
    """The generator of every weight that is not a source's."""
    return torch.Generator().manual_seed(seed)


def initial(head: HeadInit) -> warm_start.Head:
    """How the head begins: where every epoch solves it, the search itself does so first."""
    return "closed_form" if head is HeadInit.CLOSED_FORM else "random"


def blank(space: Space, classes: int, *, device: str, method: str = "darts") -> SearchState:
    """A state of the right shapes, to load a checkpoint into."""
    return _searched(Supernet(space, classes, generator(0)).to(device), method)


def _searched(supernet: Supernet, method: str) -> SearchState:
    try:
        return SearchState(supernet, methods.create(method, supernet))
    except ValueError as error:
        raise InvalidInput(f"The method does not go with this start's space: {error}.") from error


def start(
    origin: Space | warm_start.Source,
    train: LabelledImages,
    valid: LabelledImages,
    config: SearchConfig,
    *,
    head: HeadInit,
    method: str = "darts",
) -> SearchState:
    """The supernet a search begins with, cold or warm."""
    supernet = warm_start.begin(
        origin,
        train.classes,
        train,
        valid,
        head=initial(head),
        generator=generator(config.seed),
        batch_size=config.batch_size,
    )
    return _searched(supernet, method)


def stage(index: int) -> str:
    """The stage in which the search with that learning rate is reported."""
    return f"search:{index}"


def row_of(record: EpochRecord, *, elapsed: float) -> dict[str, Any]:
    """A record as it is reported, with the search's seconds until then."""
    genotype = json.loads(record.genotype.to_json())
    return asdict(record) | {"genotype": genotype, "elapsed": elapsed}


def kept(row: Mapping[str, Any]) -> dict[str, Any]:
    """What the history keeps of it."""
    return {name: value for name, value in row.items() if name not in _CELLS}


def follow(
    course: Course,
    meter: Meter,
    save: Callable[[], None],
    *,
    over: Callable[[Course], bool] = lambda _course: False,
) -> None:
    """Run to the last epoch, or until its budget is `over`, saving after each.

    All processes of the job take part; the first saves. Raises Stopped, Diverged, or InvalidInput
    if the images do not go round.
    """
    if course.history and over(course):  # an earlier attempt has spent it
        course.history[-1]["stopped"] = course.history[-1]["stopped"] or SPENT
        return
    first = together.is_first(meter.context)
    meter.begin(course.stage)
    try:
        for record in search.run(
            course.state,
            course.train,
            course.valid,
            course.config,
            ranks=meter.context.ranks,
            measured=bool(course.history),
        ):
            course.seconds += record.seconds
            row = row_of(record, elapsed=course.seconds)
            course.history.append(kept(row))
            if record.stopped is None and over(course):
                row["stopped"] = course.history[-1]["stopped"] = SPENT
            try:  # told before it is kept: a kill between the two repeats an epoch, loses no line
                meter.advance(
                    course.stage, units_of(record), JobRecord(course.stage, record.epoch, row)
                )
            finally:
                if first:
                    save()
            if row["stopped"] == SPENT:
                break
    except TooFewImages as error:
        raise InvalidInput(f"{error}.") from error
    except search.Diverged as error:
        raise Diverged(
            f"The search's loss stopped being a number at learning rate "
            f"{course.config.learning_rate:g} ({error}); try a smaller one."
        ) from error


def units(records: int) -> float:
    """Work units of that many records: epochs, of which the first only measures the start."""
    return max(0.0, records - 1 + START_UNITS)


def units_of(record: EpochRecord) -> float:
    """Work units of one of them."""
    return 1.0 if record.epoch else START_UNITS
