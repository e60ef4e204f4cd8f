"""The main job: start, search, derive, retrain, evaluate, export; resumable after every epoch.

Where several processes compute it, they search and retrain together; the rest is the first one's.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from core.domain import effort
from core.domain.searches import SearchSpec
from core.domain.work import SearchInputs, SearchOutcome
from core.errors import Diverged, InvalidInput
from core.nas.genotype import Genotype
from core.nas.images import LabelledImages
from core.nas.network import Network
from core.nas.search import SearchState
from core.nas.space import Space
from core.pipelines import (
    bilevel,
    choosing,
    contributing,
    dataset_images,
    derivation,
    machine,
    model_files,
    notes,
    racing,
    spending,
    starts,
    together,
)
from core.pipelines.bilevel import Course
from core.pipelines.context import Context
from core.pipelines.meter import Meter
from core.pipelines.notes import Notes
from core.pipelines.spending import Purse
from core.services import specs, wire

_EXPORT_UNITS = 3.0


@dataclass(frozen=True, slots=True)
class Desk:
    """What the stages of one search job share."""

    inputs: SearchInputs
    context: Context
    notes: Notes
    meter: Meter
    purse: Purse
    images: LabelledImages
    test: LabelledImages

    @property
    def space(self) -> Space:
        """The space that is searched: the source's, or the one asked for."""
        return Space.from_dict(self.notes.start["space"])

    @property
    def rates(self) -> tuple[float, ...]:
        """The learning rates to search with: those asked for, or those that suit the start."""
        return self.inputs.spec.rates(warm=self.notes.start["supernet_id"] is not None)


def run(inputs: SearchInputs, context: Context) -> SearchOutcome:
    """The search job."""
    desk = _open(inputs, context)
    if desk.notes.genotype is None:
        given = desk.inputs.spec.genotype
        if given is None:
            _search_arms(desk)
        make = partial(_derive, desk) if given is None else partial(_build, desk, given)
        desk = replace(desk, notes=notes.of_first(context, make))
    network = _retrain(desk)
    together.leave_to_first(context)
    return _export(desk, network)


def _open(inputs: SearchInputs, context: Context) -> Desk:
    started = time.perf_counter()
    inputs = replace(inputs, spec=inputs.spec.capped)
    if not inputs.dataset.n_test:
        raise InvalidInput(
            "The dataset has no test images, so nothing honest could be said of a model. "
            "Upload it with a test folder, or with enough images a class to split."
        )
    restored, total = together.restored(context), _total_units(inputs)
    if restored is None:
        written = notes.of_first(context, lambda: starts.decide(inputs, context, total=total))
        spent = time.perf_counter() - started
        written.seconds["start"] = spent - written.seconds.get("race", 0.0)
    else:
        written = notes.read(restored)
    space, resolution = Space.from_dict(written.start["space"]), written.start["resolution"]
    images, test = together.after_first(
        context,
        lambda: dataset_images.load(
            context, inputs.dataset, resolution=resolution, channels=space.input_channels
        ),
    )
    source = written.start["supernet_name"]
    choosing.require(inputs.spec, space, images, context, source=source)
    machine.require(inputs.spec.retraining.precision, context.device)
    _settle_batch(written.start, inputs, images.classes, context)
    if restored is None and written.live:  # the race has begun the search
        written.save(context)
    inputs = replace(inputs, spec=_of_batch(inputs.spec, written.start["batch_size"]))
    meter = Meter(context, total=total)
    meter.skip(_units_done(inputs, written))
    size, counts = inputs.spec.training.batch_size, inputs.dataset.train_counts
    shape = specs.shape(inputs.spec, space, resolution, counts, size)
    purse = spending.purse(inputs, context, modelled=shape.epoch())
    here = (images.to(context.device), test.to(context.device))
    return Desk(inputs, context, written, meter, purse, *here)


def _settle_batch(
    start: dict[str, Any], inputs: SearchInputs, classes: int, context: Context
) -> None:
    """Choose the batch, or halve the chosen one as often as the GPU's memory did not do since."""
    if inputs.spec.genotype is not None:  # no supernet is stepped
        start.setdefault("batch_size", inputs.spec.training.batch_size)
        start.setdefault("batch_halvings", 0)
    if "batch_size" in start:
        for name in ("batch_size", "retrain_batch_size"):
            if name in start:
                start[name] = machine.again(start[name], start.get("batch_halvings", 0), context)
    else:
        training = machine.fitted(
            inputs.spec.training,
            Space.from_dict(start["space"]),
            classes,
            resolution=start["resolution"],
            context=context,
            ranks=context.ranks,
        )
        start["batch_size"] = training.batch_size
    start["batch_halvings"] = context.halvings


def _of_batch(spec: SearchSpec, size: int) -> SearchSpec:
    return replace(spec, training=replace(spec.training, batch_size=size))


def _total_units(inputs: SearchInputs) -> float:
    spec = inputs.spec
    # As many rates whether the start is warm or cold.
    searches = len(spec.rates(warm=True)) * bilevel.units(spec.training.epochs + 1)
    retraining = derivation.units(spec.retrain_epochs + 1)
    return effort.race(spec) + searches + effort.choice(spec) + retraining + _EXPORT_UNITS


def _units_done(inputs: SearchInputs, written: Notes) -> float:
    searches = sum(bilevel.units(len(arm["history"])) for arm in written.arms)
    searches += derivation.spared(inputs.spec, written.arms)
    finished = effort.race(inputs.spec) + searches
    if written.genotype is None:
        return finished + bilevel.units(len(written.live_history))
    return finished + effort.choice(inputs.spec) + derivation.units(len(written.live_history))


def _search_arms(desk: Desk) -> None:
    """One full search per learning rate; the best by validation accuracy is kept."""
    spec, written = desk.inputs.spec, desk.notes
    train, valid = desk.images.halves(spec.training.seed)
    for index in range(len(written.arms), len(desk.rates)):
        desk.purse.require("its search was over")
        desk.meter.begin("start")
        course = _course(desk, index, train, valid)
        over = partial(spending.over, desk.purse, spec, arms=len(desk.rates) - index)

        def save(course: Course = course) -> None:
            written.live = course.state.tensors()
            written.live_history, written.live_seconds = course.history, course.seconds
            written.save(desk.context)

        try:
            bilevel.follow(course, desk.meter, save, over=over)
        except Diverged as error:
            _give_up_arm(written, course, error)
        else:
            _finish_arm(written, course)
        desk.meter.skip(derivation.spared(spec, written.arms[-1:]))
    if written.best_arm is None:
        raise Diverged(" ".join(arm["diverged"] for arm in written.arms))
    written.seconds["search"] = sum(arm["seconds"] for arm in written.arms)


def _course(desk: Desk, index: int, train: LabelledImages, valid: LabelledImages) -> Course:
    spec, written = desk.inputs.spec, desk.notes
    config = bilevel.configure(
        spec.training, desk.rates[index], head=spec.head, patience=spec.waits
    )
    stage = bilevel.stage(index)
    if written.live:
        method = spec.training.method
        state = bilevel.blank(desk.space, train.classes, device=desk.context.device, method=method)
        state.load(written.live)
        seconds, history = written.live_seconds, written.live_history
        return Course(state, train, valid, config, stage, seconds, history)
    began = time.perf_counter()
    origin = starts.origin(desk.inputs, written, desk.context)
    state = bilevel.start(
        origin, train, valid, config, head=spec.head, method=spec.training.method
    )
    return Course(state, train, valid, config, stage, time.perf_counter() - began)


def _finish_arm(written: Notes, course: Course) -> None:
    """Keep the arm, and its last supernet if that is the best of the last ones so far."""
    final = course.history[-1]["valid_accuracy"]
    best = written.best_arm
    if best is None or final > written.arms[best]["history"][-1]["valid_accuracy"]:
        written.best_arm = len(written.arms)
        written.best = dict(course.state.supernet.state_dict())
        written.method = dict(course.state.method.tensors())
    _close_arm(written, course)


def _give_up_arm(written: Notes, course: Course, error: Diverged) -> None:
    """A learning rate that diverges loses to the others; it does not take them along."""
    _close_arm(written, course, diverged=error.message)


def _close_arm(written: Notes, course: Course, **more: str) -> None:
    described = {"learning_rate": course.config.learning_rate, "seconds": course.seconds}
    written.arms.append({**described, "history": course.history, **more})
    written.live, written.live_history, written.live_seconds = {}, [], 0.0


def _derive(desk: Desk) -> Notes:
    written, spec = desk.notes, desk.inputs.spec
    state, started = _searched(desk), time.perf_counter()
    chosen = choosing.choose(
        state.supernet, state.method, desk.images, spec, desk.context, meter=desk.meter
    )
    written.seconds["select"] = time.perf_counter() - started
    desk.meter.begin("derive")
    derived = derivation.derive(state.supernet, chosen.genotype, desk.images, desk.test, spec)
    written.genotype = derived.genotype.to_json()
    written.figures = derived.figures | {
        "selection": {
            "by": chosen.by,
            "candidates": chosen.candidates,
            "trade_offs": chosen.front,
            "trade_offs_by": chosen.front_by,
        }
    }
    written.seconds["derive"] = derived.seconds
    written.live = derived.state.tensors()
    written.save(desk.context)
    return written


def _build(desk: Desk, given: Mapping[str, Any]) -> Notes:
    """The network of an architecture that needs no search, with fresh weights."""
    written, genotype = desk.notes, Genotype.from_dict(given)
    state = derivation.blank(desk.space, genotype, desk.images, desk.inputs.spec)
    written.genotype = genotype.to_json()
    written.live = state.tensors()
    written.save(desk.context)
    return written


def _searched(desk: Desk) -> SearchState:
    """The supernet of the best arm, as its search left it."""
    spec, written = desk.inputs.spec, desk.notes
    state = bilevel.blank(
        desk.space,
        desk.images.classes,
        device=desk.context.device,
        method=spec.training.method,
    )
    state.supernet.load_state_dict(written.best)
    for name, tensor in state.method.tensors().items():
        tensor.copy_(written.method[name])
    state.supernet.relaxation = state.method.relax
    return state


def _retrain(desk: Desk) -> Network:
    desk.purse.require("its network was trained")
    written, spec = desk.notes, derivation.extended(desk.inputs.spec, desk.notes.arms)
    spec = spending.of_retraining(desk.purse, spec, written.arms)
    genotype = Genotype.from_json(written.genotype or "")
    state = derivation.blank(desk.space, genotype, desk.images, spec)
    if "retrain_batch_size" not in written.start:
        written.start["retrain_batch_size"] = machine.fitted_network(
            state.network,
            spec.training,
            resolution=written.start["resolution"],
            context=desk.context,
        )
    spec = _of_batch(spec, written.start["retrain_batch_size"])
    state.load(written.live)
    spending.replan(desk.purse, state, written.live_history, written.arms)
    teacher = None
    if spec.retraining.distillation:
        teacher = derivation.as_teacher(_searched(desk).supernet, desk.images, spec)

    def save() -> None:
        written.live = state.tensors()
        written.save(desk.context)

    derivation.follow_retraining(
        state, desk.images, spec, written, desk.meter, save, teacher=teacher
    )
    return state.result()


def _export(desk: Desk, network: Network) -> SearchOutcome:
    written = desk.notes
    desk.meter.begin("export")
    started = time.perf_counter()
    figures = derivation.final_figures(network, desk.images, desk.test, desk.inputs.spec)
    written.seconds["evaluate"] = time.perf_counter() - started
    written.start = racing.with_overhead(written.start, written.seconds)
    model = model_files.write(
        desk.context,
        dataset=desk.inputs.dataset,
        spec=wire.dump(desk.inputs.spec),
        written=written,
        network=network,
        train=desk.images,
        test=desk.test,
        retrained=figures,
    )
    given = None
    if desk.inputs.spec.contribute:
        given = contributing.hand_over(
            _searched(desk).supernet, written, desk.images, desk.inputs.spec, desk.context
        )
    desk.meter.advance("export", _EXPORT_UNITS)
    return SearchOutcome(
        ranking=written.ranking,
        start=written.start,
        genotype=model.genotype,
        metrics=model.metrics,
        artifacts=model.artifacts,
        manifest_key=model.manifest.key,
        manifest_sha256=model.manifest.sha256,
        embedding=written.embedding,
        contribution=given,
    )
