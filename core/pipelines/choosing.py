"""Which cells a search hands on: candidates, what each is worth, and what they trade off."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from itertools import islice
from math import ceil
from typing import Any

from core.domain import effort
from core.domain.searches import Objective, SearchSpec, Selection, TradeOffs
from core.errors import Detail, InvalidInput
from core.nas import latency, objectives, pareto
from core.nas.derive import derive
from core.nas.genotype import Genotype
from core.nas.images import LabelledImages
from core.nas.methods.base import Method
from core.nas.objectives import CostTable
from core.nas.pareto import Objectives
from core.nas.refinement import Tuner, child_of, refine, ridge_predictor, samples
from core.nas.selection import best_of, limited, perturbation, prescreens
from core.nas.selection.best_of import Candidate, Proposal, Scorer
from core.nas.space import Space
from core.nas.supernet import Supernet
from core.pipelines.context import Context
from core.pipelines.meter import Meter

TUNING_RATE = 0.02  # of the shared weights: a fifth of what a search has
# Validation images that a perturbation is measured on: as one candidate of many, or by itself.
FEW_IMAGES, IMAGES = 128, 1024

STAGE = "select"
_LEAST = 1e-6  # of the weight that orders what weighs nothing otherwise


@dataclass(frozen=True, slots=True)
class Chosen:
    """The genotype that is retrained, how it was chosen, and what from.

    `candidates` are JSON-able, the most accurate first, with the objectives that were asked for
    and, where there are several, their multiply-adds; `front` are those that no other beats in
    accuracy and all objectives, by rising error; empty without objectives. `front_by` is how they
    were found, which is not what was asked for where cells cannot inherit weights.
    """

    genotype: Genotype
    by: str
    candidates: list[dict[str, Any]]
    front: list[dict[str, Any]]
    front_by: str


def choose(
    supernet: Supernet,
    method: Method,
    images: LabelledImages,
    spec: SearchSpec,
    context: Context,
    *,
    meter: Meter,
) -> Chosen:
    """Choose by inherited weights and a solved head, on no test image. Raises Stopped."""
    meter.begin(STAGE)
    left = effort.choice(spec)

    def told(step: float = effort.STEP) -> None:
        nonlocal left
        step = min(left, step)
        left -= step
        meter.advance(STAGE, step)

    train, valid = images.halves(spec.training.seed)
    scorer = Scorer(supernet, train, valid, seed=spec.training.seed)
    scored: dict[Genotype, Candidate] = {}

    def score(proposal: Proposal) -> Candidate:
        found = scorer(proposal)
        scored.setdefault(found.genotype, found)
        told()
        return found

    selection = spec.selection
    by_weights = selection is Selection.BEST_OF or selection in effort.PRESCREEN
    if supernet.space.partial > 1 and by_weights:
        # Its cells cannot inherit the operations' weights: scores would be those of random ones.
        selection = Selection.MAGNITUDE
    if selection is Selection.BEST_OF:
        given = _perturbed(supernet, valid, spec, FEW_IMAGES, told)
        genotype = _best_of(supernet, method, spec, given, score).genotype
    elif selection in effort.PRESCREEN:
        found = prescreens.best_screened(
            supernet,
            train,
            prescreens.PRESCREENS[selection.value],
            samples=effort.SCREENED,
            max_skips=spec.training.max_skips,
            seed=spec.training.seed,
            preference=method.preference,
            told=partial(told, effort.PRESCREEN[selection]),
        )
        genotype = score(found).genotype
    else:
        single = (
            _perturbed(supernet, valid, spec, IMAGES, told)
            if selection is Selection.PERTURBATION
            else _strongest(supernet, method, images, spec, context)
        )
        genotype = score(single).genotype
    tables = {each: _costs(each, supernet.space, images, context) for each in spec.objectives}
    front = list[dict[str, Any]]()
    # Paths of partial channels share no weights that could be tuned.
    found_by = TradeOffs.NSGA2 if supernet.space.partial > 1 else spec.trade_offs
    if tables and found_by is TradeOffs.REFINED:
        front = _refined(supernet, method, scored, spec, tables, (train, valid), told)
    elif tables:
        front = _front(list(scored), spec, tables, score)
    if len(scored) > 1 and Objective.FLOPS not in tables:
        tables[Objective.FLOPS] = _costs(Objective.FLOPS, supernet.space, images, context)
    ranked = sorted(scored.values(), key=lambda each: (-each.accuracy, each.parameters))
    meter.skip(left)
    described = [_described(each, tables) for each in ranked]
    return Chosen(genotype, selection.value, described, front, found_by.value)


def _best_of(
    supernet: Supernet,
    method: Method,
    spec: SearchSpec,
    given: Proposal,
    score: Callable[[Proposal], Candidate],
) -> Candidate:
    seed = spec.training.seed
    proposed = best_of.proposals(
        supernet,
        samples=effort.SAMPLES,
        max_skips=spec.training.max_skips,
        seed=seed,
        given=[given],
        preference=method.preference,
    )
    found = [score(each) for each in proposed]
    found += best_of.evolve(score, found, evaluations=effort.CHILDREN, seed=seed)
    allowed = [each for each in found if each.genotype.skip_count <= spec.training.max_skips]
    return best_of.best(allowed or found)


def _strongest(
    supernet: Supernet,
    method: Method,
    images: LabelledImages,
    spec: SearchSpec,
    context: Context,
) -> Proposal:
    """By the alphas, within the limit if there is one."""
    most_skips, limit = spec.training.max_skips, _limit(spec)
    found = derive(supernet, method.preference, max_skips=most_skips)
    if limit is not None:
        objective, most = limit
        costs = _costs(objective, supernet.space, images, context)
        if costs.cost(found) > most:
            weights, plain = supernet.strengths(method.preference), supernet.strengths()
            # What a method has dropped weighs nothing, and may have to come back: by its alphas.
            strengths = {kind: weights[kind] + _LEAST * plain[kind] for kind in weights}
            found = limited.strongest_within(strengths, costs, most, max_skips=most_skips)
    return Proposal(found, "magnitude")


def require(
    spec: SearchSpec,
    space: Space,
    images: LabelledImages,
    context: Context,
    *,
    source: str | None = None,
) -> None:
    """Raise InvalidInput unless some cells of the space cost no more than they may.

    Args:
        spec: Says the limit, if there is one.
        space: That is searched.
        images: At its resolution.
        context: Has the measured costs.
        source: Name of the supernet whose space that is, if it is one's.
    """
    limit = _limit(spec)
    if limit is None:
        return
    objective, most = limit
    costs = _costs(objective, space, images, context)
    least = costs.cost(limited.cheapest(costs, max_skips=spec.training.max_skips))
    if least > most:
        place, side = f"at_most.{objective}", images.images.shape[-1]
        whose = "the space asked for" if source is None else f"the supernet '{source}'"
        unit = f" multiply-adds at {side} pixels" if objective is Objective.FLOPS else ""
        message = (
            f"No cells keep to {place} = {most:,}: the smallest network of {whose} "
            f"({space.channels} channels, {space.layers} cells of {space.nodes} nodes) has "
            f"{least:,.0f}{unit}. Allow that many, or search a smaller space: fewer channels or "
            "layers, with policy 'cold' or with 'adapt'."
        )
        raise InvalidInput(message, details=[Detail(place, "invalid", message)])


def _limit(spec: SearchSpec) -> tuple[Objective, int] | None:
    """What the network may cost, where anything says so."""
    if spec.at_most.parameters is not None:
        return Objective.PARAMETERS, spec.at_most.parameters
    if spec.at_most.flops is not None:
        return Objective.FLOPS, spec.at_most.flops
    return None


def _perturbed(
    supernet: Supernet,
    valid: LabelledImages,
    spec: SearchSpec,
    images: int,
    told: Callable[[], None],
) -> Proposal:
    made = []
    for decision in perturbation.perturb(supernet, valid, seed=spec.training.seed, images=images):
        made.append(decision)
        told()
    return Proposal(perturbation.decided_genotype(supernet.space, made), "perturbation")


def _front(
    initial: list[Genotype],
    spec: SearchSpec,
    tables: Mapping[Objective, CostTable],
    score: Callable[[Proposal], Candidate],
) -> list[dict[str, Any]]:
    *_, last = pareto.nsga2(
        initial,
        pareto.trade_off(score, list(tables.values())),
        pareto.vary_genotypes,
        population=effort.POPULATION,
        evaluations=max(effort.TRADED, len(initial)),
        seed=spec.training.seed,
    )
    return _told(last.front(), tables)


def _refined(
    supernet: Supernet,
    method: Method,
    scored: dict[Genotype, Candidate],
    spec: SearchSpec,
    tables: Mapping[Objective, CostTable],
    halves: tuple[LabelledImages, LabelledImages],
    told: Callable[..., None],
) -> list[dict[str, Any]]:
    """On a copy of the supernet: what is registered and retrained keeps its weights.

    Adds to `scored`, where each has its last score: tuned weights are those that compare.
    """
    copied, (train, valid) = deepcopy(supernet), halves
    seed, size = spec.training.seed, spec.training.batch_size
    tuner = Tuner(copied, train, batch_size=size, rate=TUNING_RATE, seed=seed)

    def error(genotype: Genotype) -> float:
        scorer = Scorer(copied, train, valid, seed=seed)  # a new one: the weights have changed
        origin = scored[genotype].origin if genotype in scored else "refinement"
        scored[genotype] = scorer(Proposal(genotype, origin))
        told()
        return 1 - scored[genotype].accuracy

    def tune(parents: Sequence[Genotype], index: int) -> None:
        steps = ceil(len(train) / size)
        tuner.tune(partial(child_of, parents), index, steps=steps)
        told(effort.TUNED)

    missing = max(0, effort.POPULATION - len(scored))
    drawn = samples(copied, missing, seed=seed, preference=method.preference)
    rounds = refine(
        [*scored, *drawn],
        error,
        lambda genotype: tuple(table.cost(genotype) for table in tables.values()),
        pareto.vary_genotypes,
        children=effort.PROPOSED,
        population=effort.POPULATION,
        seed=seed,
        predictor=ridge_predictor,
        tune=tune,
    )
    *_, last = islice(rounds, effort.ROUNDS + 1)
    return _told({genotype: last.scored[genotype] for genotype in last.front()}, tables)


def _told(
    front: Mapping[Genotype, Objectives], tables: Mapping[Objective, CostTable]
) -> list[dict[str, Any]]:
    names = [objective.value for objective in tables]
    return [
        {
            "genotype": json.loads(genotype.to_json()),
            "accuracy": 1 - error,
            **dict(zip(names, values, strict=True)),
        }
        for genotype, (error, *values) in front.items()
    ]


def _costs(
    objective: Objective, space: Space, images: LabelledImages, context: Context
) -> CostTable:
    classes, side = images.classes, images.images.shape[-1]
    if objective is Objective.PARAMETERS:
        return objectives.parameter_costs(space, classes)
    if objective is Objective.FLOPS:
        return objectives.flop_costs(space, classes, side)
    return _latency(space, images, context)


def _latency(space: Space, images: LabelledImages, context: Context) -> CostTable:
    """Measured once for a device and a size, then kept by this worker."""
    side = images.images.shape[-1]
    key = latency.conditions(space, side, device=context.device)
    name = hashlib.sha256(f"{key}/{images.classes}".encode()).hexdigest()
    path = context.cache / "latency" / f"{name}.json"
    try:
        return CostTable.from_dict(json.loads(path.read_text()))
    except (OSError, ValueError, KeyError, TypeError):
        pass  # absent, or not ours: measure
    found = latency.latency_costs(space, side, images.classes, device=context.device)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(found.to_dict()))
    partial.replace(path)
    return found


def _described(candidate: Candidate, tables: Mapping[Objective, CostTable]) -> dict[str, Any]:
    costs = {each.value: table.cost(candidate.genotype) for each, table in tables.items()}
    return {
        **costs,
        "genotype": json.loads(candidate.genotype.to_json()),
        "origin": candidate.origin,
        "accuracy": candidate.accuracy,
        "loss": candidate.loss,
        "parameters": candidate.parameters,
    }
