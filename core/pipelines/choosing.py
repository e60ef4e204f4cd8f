"""Which cells a search hands on: candidates, what each is worth, and what they trade off."""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from core.domain.searches import Objective, SearchSpec, Selection
from core.nas import latency, objectives, pareto
from core.nas.derive import derive
from core.nas.genotype import Genotype
from core.nas.images import LabelledImages
from core.nas.methods.base import Method
from core.nas.objectives import CostTable
from core.nas.selection import best_of, perturbation
from core.nas.selection.best_of import Candidate, Proposal, Scorer
from core.nas.supernet import Supernet
from core.pipelines.context import Context
from core.pipelines.meter import Meter

SAMPLES = 12  # genotypes drawn by the alphas
CHILDREN = 12  # and evolved from the best
POPULATION = 12
TRADED = 36  # genotypes scored for a set of trade-offs, those above included
PERTURBED = 40  # decisions on the edges of two cells of four nodes
# Validation images that a perturbation is measured on: as one candidate of many, or by itself.
FEW_IMAGES, IMAGES = 128, 1024

STAGE = "select"
_UNIT = 0.1  # a step costs about a tenth of an epoch of search


@dataclass(frozen=True, slots=True)
class Chosen:
    """The genotype that is retrained, how it was chosen, and what from.

    `candidates` are JSON-able, the most accurate first; `front` are those that no other beats in
    accuracy and all objectives, by rising error; empty without objectives.
    """

    genotype: Genotype
    by: str
    candidates: list[dict[str, Any]]
    front: list[dict[str, Any]]


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
    left = units(spec)

    def told() -> None:
        nonlocal left
        step = min(left, _UNIT)
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
    if supernet.space.partial > 1 and selection is Selection.BEST_OF:
        # Its cells cannot inherit the operations' weights: scores would be those of random ones.
        selection = Selection.MAGNITUDE
    if selection is Selection.BEST_OF:
        given = _perturbed(supernet, valid, spec, FEW_IMAGES, told)
        genotype = _best_of(supernet, method, spec, given, score).genotype
    else:
        single = _single(supernet, method, valid, spec, selection, told)
        genotype = score(single).genotype
    front = []
    if spec.objectives:
        front = _front(list(scored), supernet, images, spec, context, score)
    ranked = sorted(scored.values(), key=lambda each: (-each.accuracy, each.parameters))
    meter.skip(left)
    return Chosen(genotype, selection.value, [_described(each) for each in ranked], front)


def units(spec: SearchSpec) -> float:
    """Work units of a choice."""
    if spec.selection is Selection.BEST_OF:
        steps = PERTURBED + 3 + SAMPLES + CHILDREN
    elif spec.selection is Selection.PERTURBATION:
        steps = 1 + PERTURBED
    else:
        steps = 1
    return _UNIT * (max(TRADED, steps) if spec.objectives else steps)


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
        samples=SAMPLES,
        max_skips=spec.training.max_skips,
        seed=seed,
        given=[given],
        preference=method.preference,
    )
    found = [score(each) for each in proposed]
    found += best_of.evolve(score, found, evaluations=CHILDREN, seed=seed)
    allowed = [each for each in found if each.genotype.skip_count <= spec.training.max_skips]
    return best_of.best(allowed or found)


def _single(
    supernet: Supernet,
    method: Method,
    valid: LabelledImages,
    spec: SearchSpec,
    selection: Selection,
    told: Callable[[], None],
) -> Proposal:
    if selection is Selection.PERTURBATION:
        return _perturbed(supernet, valid, spec, IMAGES, told)
    genotype = derive(supernet, method.preference, max_skips=spec.training.max_skips)
    return Proposal(genotype, "magnitude")


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
    supernet: Supernet,
    images: LabelledImages,
    spec: SearchSpec,
    context: Context,
    score: Callable[[Proposal], Candidate],
) -> list[dict[str, Any]]:
    costs = [_costs(objective, supernet, images, context) for objective in spec.objectives]
    *_, last = pareto.nsga2(
        initial,
        pareto.trade_off(score, costs),
        pareto.vary_genotypes,
        population=POPULATION,
        evaluations=max(TRADED, len(initial)),
        seed=spec.training.seed,
    )
    names = [objective.value for objective in spec.objectives]
    return [
        {
            "genotype": json.loads(genotype.to_json()),
            "accuracy": 1 - error,
            **dict(zip(names, values, strict=True)),
        }
        for genotype, (error, *values) in last.front().items()
    ]


def _costs(
    objective: Objective, supernet: Supernet, images: LabelledImages, context: Context
) -> CostTable:
    space, classes, side = supernet.space, images.classes, images.images.shape[-1]
    if objective is Objective.PARAMETERS:
        return objectives.parameter_costs(space, classes)
    if objective is Objective.FLOPS:
        return objectives.flop_costs(space, classes, side)
    return _latency(supernet, images, context)


def _latency(supernet: Supernet, images: LabelledImages, context: Context) -> CostTable:
    """Measured once for a device and a size, then kept by this worker."""
    space, side = supernet.space, images.images.shape[-1]
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


def _described(candidate: Candidate) -> dict[str, Any]:
    return {
        "genotype": json.loads(candidate.genotype.to_json()),
        "origin": candidate.origin,
        "accuracy": candidate.accuracy,
        "loss": candidate.loss,
        "parameters": candidate.parameters,
    }
