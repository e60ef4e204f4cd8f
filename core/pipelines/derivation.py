"""From supernet to model: inherit, retrain, and measure each on its own."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from core.domain import effort
from core.domain.jobs import JobRecord
from core.domain.searches import SearchSpec
from core.errors import Diverged, InvalidInput
from core.nas import confusions, scores
from core.nas.cost_model import RETRAIN
from core.nas.evaluate import evaluate
from core.nas.genotype import Genotype
from core.nas.head import fit_head, remove_temperature
from core.nas.images import LabelledImages
from core.nas.loop import MEASURING_BATCH
from core.nas.network import Network, inherit
from core.nas.normalisation import reestimate
from core.nas.ranks import TooFewImages
from core.nas.retrain import RetrainConfig, RetrainState, retrain
from core.nas.space import Space
from core.nas.supernet import Supernet
from core.pipelines import bilevel, together
from core.pipelines.meter import Meter
from core.pipelines.notes import Notes

STAGE = "retrain"
RETRAIN_SHARE = 0.85  # of the train split; the rest is only measured on
EXPORT_SECONDS = 10.0  # its libraries take most of them (measured: 6 to 13)


@dataclass(frozen=True, slots=True)
class Derived:
    """A genotype with inherited weights, and what it and its supernet are worth."""

    genotype: Genotype
    state: RetrainState[Network]
    figures: dict[str, Any]
    seconds: float


def derive(
    supernet: Supernet,
    genotype: Genotype,
    images: LabelledImages,
    test: LabelledImages,
    spec: SearchSpec,
) -> Derived:
    """Inherit the weights, solve the head for the derived features, and measure both."""
    started = time.perf_counter()
    train, valid = images.halves(spec.training.seed)
    reestimate(supernet, train.batches(MEASURING_BATCH))
    network = inherit(supernet, genotype)
    reestimate(network, train.batches(MEASURING_BATCH))
    solution = fit_head(network, train, valid, batch_size=MEASURING_BATCH)
    figures = {
        "supernet": _accuracies(supernet, valid, test),
        "discretised": _accuracies(network, valid, test),
    }
    remove_temperature(network, solution)  # what retraining begins from
    state = _state(network, images, spec)
    return Derived(genotype, state, figures, time.perf_counter() - started)


def extended(spec: SearchSpec, arms: Sequence[Mapping[str, Any]]) -> SearchSpec:
    """The request with the epochs of retraining that its searches' early ends pay for: not
    those of a budget, which saves nothing.

    Args:
        spec: As it was asked.
        arms: The searches, each with a record for its start and every epoch in `history`.
    """
    early = [each for each in arms if not effort.spent(each["history"])]
    more = effort.MORE * saved(spec, early) if spec.waits else 0
    return replace(spec, retrain_epochs=spec.retrain_epochs + more)


def saved(spec: SearchSpec, arms: Sequence[Mapping[str, Any]]) -> int:
    """Epochs of search that were asked for and not needed."""
    return sum(spec.training.epochs + 1 - len(arm["history"]) for arm in arms)


def spared(spec: SearchSpec, arms: Sequence[Mapping[str, Any]]) -> float:
    """Work units that their early ends leave unspent."""
    left = 1 - effort.MORE * RETRAIN if spec.waits else 1
    return left * saved(spec, arms)


def configure(spec: SearchSpec) -> RetrainConfig:
    """The loop's settings. Raises ValueError naming what is out of range."""
    return RetrainConfig(
        epochs=spec.retrain_epochs,
        batch_size=spec.training.batch_size,
        learning_rate=spec.retrain_learning_rate,
        weight_decay=spec.training.weight_decay,
        seed=spec.training.seed,
        **asdict(spec.retraining),
    )


def blank(
    space: Space, genotype: Genotype, images: LabelledImages, spec: SearchSpec
) -> RetrainState[Network]:
    """A state with fresh weights on the device of the images, to load a checkpoint into."""
    generator = bilevel.generator(spec.training.seed)
    network = Network(space, genotype, images.classes, generator)
    return _state(network.to(images.images.device), images, spec)


def as_teacher(supernet: Supernet, images: LabelledImages, spec: SearchSpec) -> Supernet:
    """A searched supernet with the running statistics that it was derived with."""
    train, _ = images.halves(spec.training.seed)
    reestimate(supernet, train.batches(MEASURING_BATCH))
    return supernet


def _state(network: Network, images: LabelledImages, spec: SearchSpec) -> RetrainState[Network]:
    return RetrainState(network, configure(spec), side=images.images.shape[-1])


def follow_retraining(
    state: RetrainState[Network],
    images: LabelledImages,
    spec: SearchSpec,
    written: Notes,
    meter: Meter,
    save: Callable[[], None],
    *,
    teacher: Supernet | None = None,
) -> None:
    """Retrain to the last epoch, saving after each; see `bilevel.follow` for who and what else."""
    first = together.is_first(meter.context)
    meter.begin(STAGE)
    train, valid = _parts(images, spec)
    try:
        for record in retrain(
            state,
            train,
            valid,
            configure(spec),
            teacher=teacher,
            ranks=meter.context.ranks,
            measured=bool(written.live_history),
        ):
            written.live_seconds += record.seconds
            row = asdict(record) | {"elapsed": written.live_seconds}
            written.live_history.append(row)
            try:  # told before it is kept: a kill between the two repeats an epoch, loses no line
                meter.advance(STAGE, _units(record.epoch), JobRecord(STAGE, record.epoch, row))
            finally:
                if first:
                    save()
    except TooFewImages as error:
        raise InvalidInput(f"{error}.") from error
    except scores.Diverged as error:
        raise Diverged(
            f"Retraining's loss stopped being a number at learning rate "
            f"{spec.retrain_learning_rate:g} ({error}); try a smaller one."
        ) from error
    written.seconds["retrain"] = written.live_seconds
    # Epochs that a budget left out cost nothing.
    meter.skip(units(spec.retrain_epochs + 1) - units(len(written.live_history)))


def final_figures(
    network: Network, images: LabelledImages, test: LabelledImages, spec: SearchSpec
) -> dict[str, Any]:
    """What the retrained network is worth, with its confusions on the test split; `images` of a
    confusion are places in that split."""
    train, valid = _parts(images, spec)
    reestimate(network, train.batches(MEASURING_BATCH))
    on_test = evaluate(network, test, MEASURING_BATCH)
    return {
        "valid_accuracy": evaluate(network, valid, MEASURING_BATCH).accuracy,
        "test_accuracy": on_test.accuracy,
        "test_loss": on_test.loss,
        "confusion": on_test.confusion.tolist(),
        "per_class": list(on_test.per_class),
        "confused": [asdict(each) for each in confusions.heaviest(test.labels, on_test)],
    }


def units(records: int) -> float:
    """Work units of that many records of a retraining."""
    return RETRAIN * bilevel.units(records)


def _units(epoch: int) -> float:
    return RETRAIN * (1.0 if epoch else bilevel.START_UNITS)


def _parts(images: LabelledImages, spec: SearchSpec) -> tuple[LabelledImages, LabelledImages]:
    return images.split(RETRAIN_SHARE, spec.training.seed)


def _accuracies(
    model: Supernet | Network, valid: LabelledImages, test: LabelledImages
) -> dict[str, float]:
    return {
        "valid_accuracy": evaluate(model, valid, MEASURING_BATCH).accuracy,
        "test_accuracy": evaluate(model, test, MEASURING_BATCH).accuracy,
    }
