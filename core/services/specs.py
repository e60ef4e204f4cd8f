"""What a job may be asked to do. Pure: a spec in, everything wrong with it out."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from core.domain import embedders
from core.domain.prunings import MaskPolicy, PruneSpec
from core.domain.searches import (
    Budget,
    EmbedSpec,
    IngestSpec,
    Method,
    PretrainSpec,
    RankSpec,
    Retraining,
    SearchSpec,
    Selection,
    SpaceSpec,
    StartPolicy,
    TradeOffs,
    Training,
)
from core.errors import Detail, InvalidInput
from core.nas.cost_model import Shape
from core.nas.space import Space, stem_stride_for
from core.services import given

Spec = IngestSpec | EmbedSpec | RankSpec | PretrainSpec | SearchSpec | PruneSpec

# An embedder's name becomes part of an object key.
EMBEDDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
NAME_LENGTH = 200
SEEDS = (0, 2**32 - 1)
EPOCHS = (1, 10_000)
LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}")
MOST_LABELS, LONGEST_LABEL = 16, 63
MOST_RATES = 16
MOST_COST = 10**15  # parameters or multiply-adds
MOST_EPOCHS = 1_000_000  # of all searches and the retraining
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
    "resample_steps": (0, 1_000_000),
}
MOST_MASKS = 16  # that one is combined of
MOST_DATASETS = 1000  # that one supernet is trained on
AUGMENTATIONS = ("none", "shift", "cutout", "trivial", "auto")
PRECISIONS = ("fp32", "bf16")
SMALLEST_KNOWN = 32  # the networks of torchvision halve their images five times
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
    "share": (0.0, 0.99),
    "gamma": (0.0, 1e6),
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
    if isinstance(spec, PruneSpec):
        yield from _pruning(spec)
        return
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
            yield from given.problems(spec)
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
            if spec.trade_offs is not TradeOffs.NSGA2 and not spec.objectives:
                yield _wrong("trade_offs", "Name 'objectives' to trade off, or leave it out.")
            yield from _at_most(spec)
            yield from _budget(spec.budget)
            yield from _labels(spec.labels)


def _pruning(spec: PruneSpec) -> Iterator[Detail]:
    wholes = ("resolution", "epochs", "retrain_epochs", "batch_size", "seed", "resample_steps")
    yield from _whole(spec, "", *wholes)
    sizes = [name for name in ("share", "gamma") if getattr(spec, name) is not None]
    # A mask's own share may be beyond what one can ask for: a price has left it.
    ranged = [name for name in sizes if name == "gamma" or spec.mask_from is None]
    yield from _real(spec, "", "learning_rate", "weight_decay", *ranged)
    if len(sizes) > 1:
        yield _wrong("gamma", "Give a share or a price, not both: either decides the size.")
    if spec.gamma is not None and not spec.searches:
        yield _wrong("gamma", "Leave it out: where a mask is taken over, none is learned.")
    if spec.resolution < SMALLEST_KNOWN:
        yield _wrong("resolution", f"Give {SMALLEST_KNOWN} or more: known networks read no less.")
    if spec.carries and spec.mask_from is None and spec.mask is not MaskPolicy.NEAREST:
        yield _wrong(
            "inherit",
            "Name an upload of weights, or take one mask over: what is fresh cannot be kept.",
        )
    if not spec.searches and spec.source_id is not None:
        yield _wrong("source_id", "Leave it out: where a mask is taken over, none is learned.")
    yield from _policy(spec)
    yield from _labels(spec.labels)


def _policy(spec: PruneSpec) -> Iterator[Detail]:
    if spec.mask is MaskPolicy.SEARCH and spec.masks_from:
        yield _wrong("masks_from", f"They are combined: ask for mask={MaskPolicy.COMBINE}.")
    if spec.mask is MaskPolicy.NEAREST and spec.masks_from:
        yield _wrong("masks_from", "Leave it out: the nearest is found. mask_from names one.")
    if spec.mask is not MaskPolicy.SEARCH:
        yield from _embedder(spec.embedder or "")
        if spec.mask_from is not None:
            yield _wrong("mask_from", "Leave it out, or the policy: it is the mask that is taken.")
    if len(set(spec.masks_from)) != len(spec.masks_from) or len(spec.masks_from) > MOST_MASKS:
        yield _wrong("masks_from", f"Name up to {MOST_MASKS} prunings, each once.")


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
    if spec.parent_id is not None and spec.options.leave_out and not spec.uploads:
        return
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


def shape(
    spec: SearchSpec, space: Space, resolution: int, counts: tuple[int, ...], batch_size: int
) -> Shape:
    """What is stepped through, of a dataset with such counts of train images."""
    return Shape(
        space=space,
        resolution=resolution,
        classes=len(counts),
        images=sum(counts),
        batch_size=batch_size,
        method=spec.training.method.value,
        paths=spec.training.paths,
        recompute=spec.training.recompute,
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


def _budget(budget: Budget) -> Iterator[Detail]:
    for name in ("seconds", "gpu_seconds"):
        if getattr(budget, name) is not None:
            yield from _real_value(f"budget.{name}", getattr(budget, name), "budget_seconds")
    if budget.epochs is not None and not 2 <= budget.epochs <= MOST_EPOCHS:
        yield _wrong("budget.epochs", f"Give a whole number from 2 to {MOST_EPOCHS}.")


def _at_most(spec: SearchSpec) -> Iterator[Detail]:
    limits = {name: most for name, most in asdict(spec.at_most).items() if most is not None}
    for name, most in limits.items():
        if not isinstance(most, int) or isinstance(most, bool) or not 1 <= most <= MOST_COST:
            yield _wrong(f"at_most.{name}", f"Give a whole number from 1 to {MOST_COST}.")
    if len(limits) > 1:
        yield _wrong("at_most", "Give parameters or flops, and null for the other.")
    if limits and spec.selection is not Selection.MAGNITUDE:
        yield _wrong("selection", "Give 'magnitude': only the strongest cells have a limit.")


def _labels(labels: Mapping[str, str]) -> Iterator[Detail]:
    if len(labels) > MOST_LABELS:
        yield _wrong("labels", f"Give {MOST_LABELS} labels at most.")
    for name, value in labels.items():
        if not LABEL.fullmatch(name):
            yield _wrong("labels", "Name labels by letters, digits and . _ - / only, 63 at most.")
        if len(value) > LONGEST_LABEL or not value.isprintable():
            yield _wrong(f"labels.{name}", f"Give {LONGEST_LABEL} printable characters at most.")


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
