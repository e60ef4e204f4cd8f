"""The prune job: learn which channels a dataset needs, remove the others, train what is left.

Resumable after every epoch. With controls the whole network, and subsets of the same size by
magnitude and by chance, are trained alike.
"""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from core.domain.jobs import JobRecord
from core.domain.work import PruneInputs, PruneOutcome
from core.errors import Diverged, InvalidInput
from core.nas import scores
from core.nas.evaluate import evaluate
from core.nas.head import fit_head, remove_temperature
from core.nas.images import LabelledImages
from core.nas.loop import MEASURING_BATCH, TrainingState
from core.nas.network import parameter_count
from core.nas.normalisation import reestimate
from core.nas.objectives import multiply_adds
from core.nas.pruning import subset
from core.nas.pruning.backbone import Backbone, evaluating, redraw
from core.nas.pruning.channels import ChannelComponents
from core.nas.pruning.components import by_group, mask_from_dict, mask_to_dict
from core.nas.pruning.controls import magnitude_scores, random_scores
from core.nas.pruning.subset import SubsetRecord
from core.nas.pruning.subset_config import SubsetConfig
from core.nas.pruning.subset_state import SubsetState
from core.nas.retrain import RetrainConfig, RetrainRecord, RetrainState, retrain
from core.pipelines import (
    bilevel,
    dataset_images,
    known_network,
    mask_choice,
    pruning_desk,
    pruning_files,
)
from core.pipelines.context import Context
from core.pipelines.derivation import RETRAIN_SHARE
from core.pipelines.pruning_desk import EXPORT_UNITS, FULL, MAGNITUDE, PRUNED, RANDOM, Desk
from core.pipelines.pruning_notes import Mask

MASK, TRAIN = "mask", "train"
_DIGITS = 4  # of a score
_LONG = "theta", "mask"  # recorded by nobody: thousands of numbers an epoch


def run(inputs: PruneInputs, context: Context) -> PruneOutcome:
    """The prune job."""
    desk = pruning_desk.opened(inputs, context)
    if PRUNED not in desk.notes.masks:
        (_learn_mask if inputs.spec.searches else mask_choice.choose)(desk)
    for arm in pruning_desk.arms(inputs):
        if arm not in desk.notes.arms:
            _train(desk, arm)
    return _export(desk)


def _learn_mask(desk: Desk) -> None:
    spec, notes = desk.inputs.spec, desk.notes
    desk.meter.begin(MASK)
    images = _source(desk)
    components = desk.components(desk.network(images.classes, begun=True))
    config = SubsetConfig(
        epochs=spec.epochs,
        batch_size=desk.batch_size,
        learning_rate=spec.learning_rate,
        learning_rate_min=min(1e-3, spec.learning_rate),
        weight_decay=spec.weight_decay,
        gamma=spec.gamma or 0.0,
        target=spec.wanted if spec.gamma is None else None,
        noise=spec.noise,
        resample_steps=spec.resample_steps,
        seed=spec.seed,
    )
    state = SubsetState(components, config)
    if notes.live:
        state.load(dict(notes.live))
    train, valid = _split(images, 0.5, spec.seed)
    records = subset.run(state, train, valid, config, measured=bool(notes.live_history))
    _follow(desk, MASK, state, records)
    notes.masks[PRUNED] = mask_to_dict(state.mask(config), components.sizes)
    theta = state.scores.theta.detach().double().cpu()
    notes.scores = {
        name: [round(each, _DIGITS) for each in part.tolist()]
        for name, part in by_group(theta, components.sizes).items()
    }
    notes.search = notes.live_history
    notes.close(MASK)
    notes.save(desk.context)


def _source(desk: Desk) -> LabelledImages:
    """The images that decide what stays."""
    inputs = desk.inputs
    if inputs.source.id == inputs.dataset.id:
        return desk.images
    resolution, channels = inputs.spec.resolution, bilevel.INPUT_CHANNELS
    images, _ = dataset_images.load(
        desk.context, inputs.source, resolution=resolution, channels=channels
    )
    return images.to(desk.context.device)


def _train(desk: Desk, arm: str) -> None:
    """Train one network from the start, and measure it."""
    spec, notes = desk.inputs.spec, desk.notes
    stage = TRAIN if arm == PRUNED else f"{TRAIN}:{arm}"
    desk.meter.begin(stage)
    model, figures = _begun(desk, arm)
    config = RetrainConfig(
        epochs=spec.retrain_epochs,
        batch_size=desk.batch_size,
        learning_rate=spec.learning_rate,
        weight_decay=spec.weight_decay,
        seed=spec.seed,
    )
    state = RetrainState(model, config)
    if notes.live:
        state.load(dict(notes.live))
    train, valid = _split(desk.images, RETRAIN_SHARE, spec.seed)
    if spec.carries and arm == PRUNED and not notes.live:
        # A drawn classifier would first of all disturb what the network knows.
        reestimate(model, train.batches(MEASURING_BATCH))
        remove_temperature(model, fit_head(model, train, valid, batch_size=MEASURING_BATCH))
    records = retrain(state, train, valid, config, measured=bool(notes.live_history))
    _follow(desk, stage, state, records)
    reestimate(model, train.batches(MEASURING_BATCH))
    on_test = evaluate(model, desk.test, MEASURING_BATCH)
    notes.arms[arm] = figures | {
        "test_accuracy": on_test.accuracy,
        "test_loss": on_test.loss,
        "valid_accuracy": evaluate(model, valid, MEASURING_BATCH).accuracy,
        "per_class": list(on_test.per_class),
        "history": notes.live_history,
    }
    if arm == PRUNED:
        notes.kept = dict(model.state_dict())
    if arm == FULL:
        components = desk.components(model)
        chosen = components.fit(magnitude_scores(components), notes.arms[PRUNED]["kept"])
        notes.masks[MAGNITUDE] = mask_to_dict(chosen, components.sizes)
    notes.close(stage)
    notes.save(desk.context)


def _begun(desk: Desk, arm: str) -> tuple[Backbone, dict[str, Any]]:
    """The network of an arm as its training begins, and what it costs."""
    spec, notes = desk.inputs.spec, desk.notes
    model = desk.network(desk.images.classes, begun=spec.inherit)
    if arm == FULL:
        return model, {"kept": 1.0, **_size(model, spec.resolution)}
    components = desk.components(model)
    if arm == RANDOM and RANDOM not in notes.masks:
        drawn = random_scores(components, bilevel.generator(spec.seed))
        chosen = components.fit(drawn, notes.arms[PRUNED]["kept"])
        notes.masks[RANDOM] = mask_to_dict(chosen, components.sizes)
    mask = _mask_of(components, notes.masks[arm])
    pruned = components.pruned(mask)
    if not spec.inherit or spec.carries:
        redraw(pruned, bilevel.generator(spec.seed))
    if spec.carries and arm == PRUNED and not notes.live:
        known_network.carry(pruned, desk.carried())
    kept = float(components.cost(mask))
    return pruned, {"kept": kept, **_size(pruned, spec.resolution)}


def _size(model: Backbone, resolution: int) -> dict[str, float]:
    picture = torch.zeros(1, bilevel.INPUT_CHANNELS, resolution, resolution)
    with evaluating(model), torch.no_grad():
        operations = multiply_adds(model, picture.to(model.classifier.weight))
    return {"parameters": parameter_count(model), "flops": round(operations)}


def _mask_of(components: ChannelComponents, mask: Mask) -> Tensor:
    try:
        return mask_from_dict(mask, components.sizes)
    except ValueError as error:
        raise InvalidInput(f"The mask is not one of this network: {error}.") from error


def _split(
    images: LabelledImages, share: float, seed: int
) -> tuple[LabelledImages, LabelledImages]:
    try:
        return images.split(share, seed)
    except ValueError as error:
        raise InvalidInput(f"There are too few images to train on: {error}.") from error


def _follow(
    desk: Desk,
    stage: str,
    state: TrainingState,
    records: Iterator[SubsetRecord] | Iterator[RetrainRecord],
) -> None:
    """Run to the last epoch, saving after each. Raises Stopped, Diverged."""
    notes = desk.notes
    try:
        for record in records:
            notes.live_seconds += record.seconds
            row = {name: value for name, value in asdict(record).items() if name not in _LONG}
            row["elapsed"] = notes.live_seconds
            notes.live_history.append(row)
            units = 1.0 if record.epoch else bilevel.START_UNITS
            try:  # told before it is kept: a kill between the two repeats an epoch, loses no line
                desk.meter.advance(stage, units, JobRecord(stage, record.epoch, row))
            finally:
                notes.live = state.tensors()
                notes.save(desk.context)
    except scores.Diverged as error:
        raise Diverged(
            f"The loss stopped being a number at learning rate "
            f"{desk.inputs.spec.learning_rate:g} ({error}); try a smaller one."
        ) from error


def _export(desk: Desk) -> PruneOutcome:
    spec, notes = desk.inputs.spec, desk.notes
    desk.meter.begin("export")
    whole = desk.network(desk.images.classes, begun=False)
    components, full = desk.components(whole), _size(whole, spec.resolution)
    network = components.pruned(_mask_of(components, notes.masks[PRUNED]))
    network.load_state_dict(dict(notes.kept))
    made = pruning_files.write(
        desk.context, desk.inputs, notes, components, network, desk.test, full
    )
    desk.meter.advance("export", EXPORT_UNITS)
    return made
