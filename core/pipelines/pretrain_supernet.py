"""Train a supernet, on one dataset or several, to be registered as a source."""

import time
from typing import Any

from core.domain.datasets import Embedding
from core.domain.searches import HeadInit
from core.domain.work import PretrainInputs, PretrainOutcome
from core.nas.evaluate import evaluate
from core.nas.images import LabelledImages
from core.nas.normalisation import reestimate
from core.nas.supernet import Supernet
from core.pipelines import (
    bilevel,
    checkpoint_file,
    dataset_images,
    embed_dataset,
    machine,
    pretrain_multi_dataset,
    supernet_file,
    together,
)
from core.pipelines.bilevel import Course
from core.pipelines.context import Context
from core.pipelines.meter import Meter
from core.services import specs

STAGE = "pretrain"


def run(inputs: PretrainInputs, context: Context) -> PretrainOutcome:
    """The pretrain job."""
    if inputs.spec.shared:
        together.leave_to_first(context)  # its steps are shared out between datasets alone
        return pretrain_multi_dataset.run(inputs, context)
    spec, started = inputs.spec, time.perf_counter()
    embedding = _embedding(inputs, context) if together.is_first(context) else None
    images, test = together.after_first(
        context,
        lambda: dataset_images.load(
            context,
            inputs.dataset,
            resolution=spec.space.resolution,
            channels=bilevel.INPUT_CHANNELS,
        ),
    )
    course, earlier = _begin(inputs, images.to(context.device), context)
    meter = Meter(context, total=bilevel.units(spec.training.epochs + 1) + 1)
    meter.skip(bilevel.units(len(course.history)))

    def save() -> None:
        state = {
            "history": course.history,
            "batch_size": course.config.batch_size,
            "batch_halvings": context.halvings,
            "seconds": course.seconds,
            "wall": earlier + time.perf_counter() - started,
        }
        path = context.scratch / "checkpoint.safetensors"
        checkpoint_file.write(path, course.state.tensors(), state)
        context.checkpoint(len(course.history), path)

    bilevel.follow(course, meter, save)
    together.leave_to_first(context)
    meter.skip(spec.training.epochs + 1 - len(course.history))  # it may have ended early
    supernet = course.state.supernet
    metrics = _metrics(course, supernet, test.to(context.device))
    key, sha256 = supernet_file.keep(context, supernet.state_dict())
    return PretrainOutcome(
        space=supernet.space.to_dict(),
        resolution=spec.space.resolution,
        key=key,
        sha256=sha256,
        metrics=metrics,
        seconds=earlier + time.perf_counter() - started,
        embedding=embedding,
    )


def _embedding(inputs: PretrainInputs, context: Context) -> Embedding | None:
    _, new = embed_dataset.ensure(
        inputs.dataset, inputs.embedding, inputs.spec.embedder, context, trunk=inputs.trunk
    )
    return new


def _begin(
    inputs: PretrainInputs, images: LabelledImages, context: Context
) -> tuple[Course, float]:
    spec = inputs.spec
    method = spec.training.method
    space = specs.space_of(spec.space, method, input_channels=bilevel.INPUT_CHANNELS)
    train, valid = images.halves(spec.training.seed)
    restored = together.restored(context)
    if restored is None:
        training = machine.fitted(
            spec.training,
            space,
            images.classes,
            resolution=spec.space.resolution,
            context=context,
            ranks=context.ranks,
        )
        config = bilevel.configure(training, spec.learning_rate)
        began = time.perf_counter()
        state = bilevel.start(space, train, valid, config, head=HeadInit.RANDOM, method=method)
        return Course(state, train, valid, config, STAGE, time.perf_counter() - began), 0.0
    tensors, saved = checkpoint_file.read(restored)
    training = machine.resumed(spec.training, saved, context)
    config = bilevel.configure(training, spec.learning_rate)
    state = bilevel.blank(space, images.classes, device=context.device, method=method)
    state.load(tensors)
    course = Course(state, train, valid, config, STAGE, saved["seconds"], saved["history"])
    return course, float(saved["wall"])


def _metrics(course: Course, supernet: Supernet, test: LabelledImages) -> dict[str, Any]:
    size = course.config.batch_size
    reestimate(supernet, course.train.batches(size))
    return {
        "batch_size": size,
        "valid_accuracy": evaluate(supernet, course.valid, size).accuracy,
        "test_accuracy": evaluate(supernet, test, size).accuracy if len(test) else None,
        "history": course.history,
        "search_seconds": course.seconds,
    }
