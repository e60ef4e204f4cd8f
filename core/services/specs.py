"""What a job may be asked to do. Pure: a spec in, everything wrong with it out."""

import math
import re
from collections.abc import Iterator
from typing import Any

from core.domain import embedders
from core.domain.searches import (
    EmbedSpec,
    IngestSpec,
    Method,
    PretrainSpec,
    RankSpec,
    Retraining,
    SearchSpec,
    SpaceSpec,
    StartPolicy,
    Training,
)
from core.errors import Detail, InvalidInput
from core.nas.space import Space, stem_stride_for

Spec = IngestSpec | EmbedSpec | RankSpec | PretrainSpec | SearchSpec

# An embedder's name becomes part of an object key.
EMBEDDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
NAME_LENGTH = 200
SEEDS = (0, 2**32 - 1)
EPOCHS = (1, 10_000)
MOST_RATES = 16
MOST_ARCHIVES = 16  # as many as intake opens at once
WHOLE = {
    "resolution": (8, 512),
    "epochs": EPOCHS,
    "batch_size": (2, 65_536),
    "seed": SEEDS,
    "retrain_epochs": EPOCHS,
    "k": (1, 100),
    "max_skips": (0, 64),
    "steps": (1, 1_000_000),
    "paths": (0, 64),
    "patience": (0, 10_000),
}
MOST_DATASETS = 1000  # that one supernet is trained on
AUGMENTATIONS = ("none", "shift", "cutout", "trivial", "auto")
PRECISIONS = ("fp32", "bf16")
PARTIAL = 4  # of the channels, one in so many is mixed by PC-DARTS
# Above the first (at it, for those that may be zero) and up to the second.
REAL = {
    "learning_rate": (0.0, 10.0),
    "alpha_learning_rate": (0.0, 10.0),
    "retrain_learning_rate": (0.0, 10.0),
    "weight_decay": (0.0, 1.0),
    "generalisation_gap": (0.0, 10.0),
    "drop_path": (0.0, 0.9),
    "auxiliary": (0.0, 10.0),
    "label_smoothing": (0.0, 0.99),
    "ema": (0.0, 0.99999),
    "distillation": (0.0, 1.0),
    "budget_seconds": (0.0, 1e7),
}
MAY_BE_ZERO = frozenset(
    {
        "weight_decay",
        "generalisation_gap",
        "drop_path",
        "auxiliary",
        "label_smoothing",
        "ema",
        "distillation",
    }
)


def check(spec: Spec) -> None:
    """Raise InvalidInput naming every field that cannot be accepted and how to mend it."""
    _refuse(_problems(spec))


def check_embedder(identifier: str) -> None:
    """Raise InvalidInput unless this is how an embedder is spelled."""
    _refuse(_embedder(identifier))


def _refuse(problems: Iterator[Detail]) -> None:
    details = tuple(problems)
    if details:
        count = f"{len(details)} settings" if len(details) > 1 else "A setting"
        raise InvalidInput(f"{count} cannot be accepted: see the details.", details=details)


def _problems(spec: Spec) -> Iterator[Detail]:
    yield from _embedder(spec.embedder)
    match spec:
        case IngestSpec():
            yield from _name(spec.name)
            yield from _archives(spec)
        case RankSpec():
            yield from _whole(spec, "", "k")
        case PretrainSpec():
            yield from _name(spec.name)
            yield from _loop(spec.space, spec.training)
            yield from _real(spec, "", "learning_rate")
            yield from _several(spec)
        case SearchSpec():
            yield from _start(spec)
            yield from _loop(spec.space, spec.training)
            if spec.learning_rates is not None:
                yield from _rates(spec.learning_rates)
            if spec.patience is not None:
                yield from _whole(spec, "", "patience")
            yield from _whole(spec, "", "retrain_epochs")
            yield from _real(spec, "", "retrain_learning_rate")
            yield from _retraining(spec.retraining)
            if len(set(spec.objectives)) != len(spec.objectives):
                yield _wrong("objectives", "Name every objective once.")


def _embedder(identifier: str) -> Iterator[Detail]:
    if not EMBEDDER.fullmatch(identifier):
        yield _wrong("embedder", "Name an embedder, with letters, digits and . _ @ + - only.")
        return
    try:
        embedders.trunk_of(identifier)
    except ValueError as error:
        yield _wrong("embedder", f"Give another embedder: {error}.")


def _name(name: str) -> Iterator[Detail]:
    if not name.strip() or len(name) > NAME_LENGTH or not name.isprintable():
        yield _wrong("name", f"Give a name of 1 to {NAME_LENGTH} printable characters.")


def _archives(spec: IngestSpec) -> Iterator[Detail]:
    if not 1 <= len(spec.uploads) <= MOST_ARCHIVES:
        yield _wrong("uploads", f"Name 1 to {MOST_ARCHIVES} uploads.")
    if len(set(spec.uploads)) != len(spec.uploads):
        yield _wrong("uploads", "Name every upload once.")


def _start(spec: SearchSpec) -> Iterator[Detail]:
    named = spec.policy is StartPolicy.SUPERNET
    if named and spec.supernet_id is None:
        yield _wrong("supernet_id", "Name the supernet to start from, or use policy 'race'.")
    if not named and spec.supernet_id is not None:
        yield _wrong("supernet_id", "Leave it out, or use policy 'supernet' to start from it.")


def _several(spec: PretrainSpec) -> Iterator[Detail]:
    yield from _whole(spec, "", "steps")
    if len({spec.dataset_id, *spec.others}) <= len(spec.others):
        yield _wrong("others", "Name every dataset once.")
    if len(spec.others) >= MOST_DATASETS:
        yield _wrong("others", f"Name at most {MOST_DATASETS - 1} other datasets.")
    if spec.shared and spec.training.method is not Method.DARTS:
        yield _wrong("training.method", "Give 'darts': others do not train on several datasets.")
    if spec.shared and spec.training.generalisation_gap:
        yield _wrong("training.generalisation_gap", "Give 0: several datasets have no such term.")


def space_of(space: SpaceSpec, method: Method, *, input_channels: int = 3) -> Space:
    """The space that a cold start searches. Raises ValueError, which names the field."""
    return Space(
        channels=space.channels,
        layers=space.layers,
        nodes=space.nodes,
        input_channels=input_channels,
        cells=space.cells,
        stem_stride=stem_stride_for(space.resolution),
        partial=PARTIAL if method is Method.PC_DARTS else 1,
    )


def _loop(space: SpaceSpec, training: Training) -> Iterator[Detail]:
    yield from _whole(space, "space.", "resolution")
    try:
        space_of(space, training.method)
    except ValueError as error:  # says the field, its value and its range
        place, _, message = str(error).partition(": ")
        yield _wrong(place, f"Give another value: {message}.")
    wholes = ("epochs", "batch_size", "seed", "max_skips", "paths")
    yield from _whole(training, "training.", *wholes)
    reals = ("alpha_learning_rate", "weight_decay", "generalisation_gap")
    yield from _real(training, "training.", *reals)
    if training.precision not in PRECISIONS:
        yield _wrong("training.precision", f"Give one of {', '.join(PRECISIONS)}.")
    if training.generalisation_gap and training.method is Method.DARTS_SECOND_ORDER:
        yield _wrong("training.generalisation_gap", "Give 0: it does not go with second order.")
    if training.paths and training.method is Method.PC_DARTS:
        yield _wrong("training.paths", "Give 0: cells of partial channels inherit no weights.")


def _retraining(retraining: Retraining) -> Iterator[Detail]:
    place = "retraining."
    if retraining.augment not in AUGMENTATIONS:
        yield _wrong(place + "augment", f"Give one of {', '.join(AUGMENTATIONS)}.")
    if retraining.precision not in PRECISIONS:
        yield _wrong(place + "precision", f"Give one of {', '.join(PRECISIONS)}.")
    reals = ("drop_path", "auxiliary", "label_smoothing", "ema", "distillation")
    yield from _real(retraining, place, *reals)
    if retraining.budget_seconds is not None:
        yield from _real(retraining, place, "budget_seconds")


def _rates(rates: tuple[float, ...]) -> Iterator[Detail]:
    if not 1 <= len(rates) <= MOST_RATES or len(set(rates)) != len(rates):
        yield _wrong("learning_rates", f"Give 1 to {MOST_RATES} different learning rates.")
    for index, rate in enumerate(rates):
        yield from _real_value(f"learning_rates[{index}]", rate, "learning_rate")


def _whole(owner: Any, prefix: str, *names: str) -> Iterator[Detail]:
    for name in names:
        low, high = WHOLE[name]
        value = getattr(owner, name)
        # bool is an int to Python, never to a reader.
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            yield _wrong(prefix + name, f"Give a whole number from {low} to {high}.")


def _real(owner: Any, prefix: str, *names: str) -> Iterator[Detail]:
    for name in names:
        yield from _real_value(prefix + name, getattr(owner, name), name)


def _real_value(place: str, value: Any, name: str) -> Iterator[Detail]:
    low, high = REAL[name]
    zero = name in MAY_BE_ZERO
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not low <= value <= high:
        yield _wrong(place, f"Give a number from {low:g} to {high:g}.")
    elif value == low and not zero:
        yield _wrong(place, f"Give a number above {low:g}, up to {high:g}.")


def _wrong(place: str, message: str) -> Detail:
    return Detail(place, "invalid", message)
