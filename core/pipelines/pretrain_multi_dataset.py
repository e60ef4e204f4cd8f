"""Train one supernet on several datasets at once; resumable after every round."""

import time
from dataclasses import asdict, dataclass, field
from typing import Any

from core.domain.datasets import Dataset
from core.domain.jobs import JobRecord
from core.domain.searches import PretrainSpec, Training
from core.domain.work import PretrainInputs, PretrainOutcome, StartingPoint
from core.errors import Diverged, InvalidInput
from core.nas import multi_dataset, precision, scores, warm_start
from core.nas.multi_dataset import MultiDatasetConfig, MultiDatasetState, Part
from core.nas.supernet import Supernet
from core.pipelines import (
    bilevel,
    checkpoint_file,
    dataset_images,
    machine,
    origins,
    supernet_file,
)
from core.pipelines.context import Context
from core.pipelines.meter import Meter
from core.services import specs

STAGE = "pretrain"
TRAIN_SHARE = 0.8  # the rest moves the alphas, and is measured on


@dataclass(slots=True)
class Course:
    """One training on its way: what to train, on what, and its history so far."""

    state: MultiDatasetState
    parts: list[Part]
    config: MultiDatasetConfig
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)


def run(inputs: PretrainInputs, context: Context) -> PretrainOutcome:
    """The pretrain job of more than one dataset."""
    course = _begin(inputs, context)
    meter = Meter(context, total=course.config.epochs)
    meter.skip(len(course.history))
    meter.begin(STAGE)
    try:
        for record in multi_dataset.run(course.state, course.parts, course.config):
            course.seconds += record.seconds
            row = asdict(record) | {"elapsed": course.seconds}
            course.history.append(row)
            try:  # told before it is kept: a kill between the two repeats a round, loses no line
                meter.advance(STAGE, 1.0, JobRecord(STAGE, record.epoch, row))
            finally:
                _save(course, context)
    except scores.Diverged as error:
        raise Diverged(
            f"The pretraining's loss stopped being a number at learning rate "
            f"{inputs.spec.learning_rate:g} ({error}); try a smaller one."
        ) from error
    supernet = course.state.supernet
    key, sha256 = supernet_file.keep(context, supernet.state_dict())
    return PretrainOutcome(
        space=supernet.space.to_dict(),
        resolution=inputs.spec.space.resolution,
        key=key,
        sha256=sha256,
        metrics=_metrics(course, (inputs.dataset, *inputs.others)),
        seconds=course.seconds,
        embedding=None,
    )


def configure(spec: PretrainSpec, training: Training) -> MultiDatasetConfig:
    """The loop's settings. Raises ValueError naming what is out of range."""
    return MultiDatasetConfig(
        epochs=training.epochs,
        steps=spec.steps,
        paths=training.paths,
        batch_size=training.batch_size,
        learning_rate=spec.learning_rate,
        learning_rate_min=min(1e-3, spec.learning_rate),
        weight_decay=training.weight_decay,
        alpha_learning_rate=training.alpha_learning_rate,
        recompute=training.recompute,
        precision=precision.named(training.precision),
        seed=training.seed,
    )


def _begin(inputs: PretrainInputs, context: Context) -> Course:
    spec, channels = inputs.spec, bilevel.INPUT_CHANNELS
    parts = [_part(each, inputs, context) for each in (inputs.dataset, *inputs.others)]
    space = specs.space_of(spec.space, spec.training.method, input_channels=channels)
    supernet = Supernet(space, 1, bilevel.generator(spec.training.seed)).to(context.device)
    classes = [part.train.classes for part in parts]
    state = MultiDatasetState(supernet, classes, seed=spec.training.seed)
    restored = context.restore()
    if restored is None:
        began = time.perf_counter()
        training = machine.fitted(
            spec.training,
            space,
            max(classes),
            resolution=spec.space.resolution,
            context=context,
        )
        course = Course(state, parts, configure(spec, training))
        if inputs.parent is not None:
            _go_on_from(inputs.parent, course, context)
            course.seconds = time.perf_counter() - began
        return course
    tensors, saved = checkpoint_file.read(restored.path)
    state.load(tensors)
    training = machine.resumed(spec.training, saved, context)
    return Course(state, parts, configure(spec, training), saved["seconds"], saved["history"])


def _go_on_from(parent: StartingPoint, course: Course, context: Context) -> None:
    """Its weights and alphas; no supernet of several datasets keeps the heads."""
    try:
        warm_start.load(course.state.supernet, origins.tensors(parent, context))
    except ValueError as error:
        message = f"The supernet '{parent.name}' cannot be continued: {error}."
        raise InvalidInput(message) from error
    multi_dataset.solve_heads(course.state, course.parts, course.config)


def _part(dataset: Dataset, inputs: PretrainInputs, context: Context) -> Part:
    spec = inputs.spec
    images, _ = dataset_images.load(
        context, dataset, resolution=spec.space.resolution, channels=bilevel.INPUT_CHANNELS
    )
    try:
        return Part(*images.to(context.device).split(TRAIN_SHARE, spec.training.seed))
    except ValueError as error:
        raise InvalidInput(f"The dataset '{dataset.name}' is too small: {error}.") from error


def _save(course: Course, context: Context) -> None:
    path = context.scratch / "checkpoint.safetensors"
    state = {
        "history": course.history,
        "seconds": course.seconds,
        "batch_size": course.config.batch_size,
        "batch_halvings": context.halvings,
    }
    checkpoint_file.write(path, course.state.tensors(), state)
    context.checkpoint(len(course.history), path)


def _metrics(course: Course, datasets: tuple[Dataset, ...]) -> dict[str, Any]:
    last = course.history[-1]
    by_dataset = zip(datasets, last["valid_accuracies"], strict=True)
    return {
        "batch_size": course.config.batch_size,
        "valid_accuracy": last["valid_accuracy"],
        "valid_accuracies": {each.name: accuracy for each, accuracy in by_dataset},
        "history": course.history,
        "search_seconds": course.seconds,
    }
