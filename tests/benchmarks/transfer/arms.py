"""One arm on one target: search, choose, derive, retrain, each with its seconds.

Everything after the start is the same for all arms, and as the product does it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch

from core.domain.searches import HeadInit, SearchSpec
from core.nas import search
from core.nas.classifier import ImageClassifier
from core.nas.derive import derive
from core.nas.evaluate import evaluate
from core.nas.genotype import Genotype
from core.nas.head import fit_head
from core.nas.images import LabelledImages
from core.nas.network import inherit, parameter_count
from core.nas.normalisation import reestimate
from core.nas.retrain import RetrainConfig, RetrainState, retrain
from core.nas.scores import Diverged
from core.nas.search import SearchState
from core.nas.selection import best_of
from core.nas.selection.best_of import Scorer
from core.nas.space import Space
from core.nas.warm_start import Source
from core.pipelines import bilevel, derivation
from tests.benchmarks.bench_robust import random_cells
from tests.benchmarks.transfer import pretraining
from tests.benchmarks.transfer.settings import Bench

_T = TypeVar("_T")
_MOST = 256  # images per forward pass where nothing is learned


@dataclass(frozen=True, slots=True)
class Start:
    """How an arm begins, and how it goes on.

    Args:
        unit: Whose supernet it begins from; None: cold.
        head: How the classifier begins; None: as the product's does.
        rates: Of learning; none: the product's.
        searches: Whether it does, or retrains what the start is derived to, for as many more
            epochs as no search saves.
        patient: Whether it ends early, as the product's searches do, and spends on retraining
            what that saves; or searches and retrains as many epochs as the scale has.
    """

    unit: str | None = None
    head: HeadInit | None = None
    rates: tuple[float, ...] = ()
    searches: bool = True
    patient: bool = True


@dataclass(slots=True)
class Curve:
    """Accuracies by epoch and by seconds since the arm began."""

    epochs: list[int]
    seconds: list[float]
    valid: list[float]

    def to_dict(self) -> dict[str, list[Any]]:
        """JSON-able."""
        return {"epochs": self.epochs, "seconds": self.seconds, "valid": self.valid}


@dataclass(frozen=True, slots=True)
class Target:
    """A target's images; the test images decide nothing."""

    name: str
    seed: int
    images: LabelledImages
    test: LabelledImages


@dataclass(slots=True)
class Searched:
    """A search that is over; `state` is None where its loss diverged."""

    rate: float
    curve: Curve
    state: SearchState | None

    @property
    def best(self) -> float:
        """What learning rates are compared by; a diverged search loses."""
        return self.curve.valid[-1] if self.state is not None else -1.0


def target(bench: Bench, name: str, seed: int) -> Target:
    """The target's images."""
    return Target(name, seed, *bench.images(name, seed))


def run(bench: Bench, name: str, seed: int, start: Start) -> dict[str, Any]:
    """The arm's record.

    With several rates the best by validation accuracy at the end goes on, and only its seconds
    are counted: that flatters the cold start, which all others are compared with.
    """
    on = target(bench, name, seed)
    rates = start.rates or bench.spec(seed).rates(warm=start.unit is not None)
    tried = [searched(bench, on, start, rate) for rate in rates]
    best = max(tried, key=lambda each: each.best)
    if best.state is None:
        raise Diverged(f"{name}: every search diverged, at rates {rates}")
    found = _modelled(bench, on, best.state, best.curve, _asked(bench, seed, start))
    return found | {
        "source": start.unit,
        "rate": best.rate,
        "rates": {str(each.rate): each.best for each in tried},
        "search": best.curve.to_dict(),
    }


def searched(bench: Bench, on: Target, start: Start, rate: float) -> Searched:
    """Start up, then search to the last epoch, or not at all."""
    clock = bench.clock
    began, (train, valid) = clock(), on.images.halves(on.seed)
    origin: Space | Source = bench.space
    if start.unit is not None:
        origin = pretraining.load(bench, start.unit, on.name)
    spec = _asked(bench, on.seed, start)
    head = start.head or spec.head
    config = bilevel.configure(spec.training, rate, head=head, patience=spec.waits)
    state = bilevel.start(origin, train, valid, config, head=head)
    spent, curve = clock() - began, Curve([], [], [])
    try:
        for record, seconds in timed(search.run(state, train, valid, config), clock):
            spent += seconds
            curve.epochs.append(record.epoch)
            curve.seconds.append(spent)
            curve.valid.append(record.valid_accuracy)
            if not start.searches:
                break
    except Diverged:
        return Searched(rate, curve, None)
    return Searched(rate, curve, state)


def _asked(bench: Bench, seed: int, start: Start) -> SearchSpec:
    spec = bench.spec(seed)
    return spec if start.patient else replace(spec, patience=0)


def timed(items: Iterator[_T], clock: Callable[[], float]) -> Iterator[tuple[_T, float]]:
    """Each item with the seconds that it took, without those of whoever takes it."""
    while True:
        began = clock()
        try:
            item = next(items)
        except StopIteration:
            return
        yield item, clock() - began


def _modelled(
    bench: Bench, on: Target, state: SearchState, searched: Curve, spec: SearchSpec
) -> dict[str, Any]:
    """From the searched supernet to a model."""
    clock, spent = bench.clock, searched.seconds[-1]
    spec = derivation.extended(spec, [{"history": searched.epochs}])
    began = clock()
    genotype = derive(state.supernet, state.method.preference, max_skips=spec.training.max_skips)
    selected = clock()
    derived = derivation.derive(state.supernet, genotype, on.images, on.test, spec)
    ready = clock()
    seconds = {
        "search": spent,
        "select": selected - began,
        "derive": ready - selected,
    }
    curve = retrained(bench, on, derived.state, derivation.configure(spec), sum(seconds.values()))
    seconds["retrain"] = curve["seconds"][-1] - sum(seconds.values())
    return {
        "supernet": derived.figures["supernet"],
        "discretised": derived.figures["discretised"],
        "scored": inheriting(bench, on, state, scored(bench, on, state)),
        "random_inherited": [
            inheriting(bench, on, state, each)
            for each in random_cells(
                bench.space,
                on.images.classes,
                genotype,
                on.seed,
                count=bench.scale.random_cells,
            )
        ],
        "genotype": genotype.to_json(),
        "parameters": parameter_count(derived.state.network),
        "retrain": curve,
        "retrained": final(derived.state.result(), on, bench.scale.batch_size),
        "seconds": seconds,
    }


def scored(bench: Bench, on: Target, state: SearchState) -> Genotype:
    """The best by its score of a few candidates: the product's other way to choose, see ADR 17."""
    scale, limit = bench.scale, bench.spec(on.seed).training.max_skips
    train, valid = on.images.halves(on.seed)
    score = Scorer(state.supernet, train, valid, seed=on.seed, batch_size=scale.batch_size)
    proposed = best_of.proposals(
        state.supernet,
        samples=scale.samples,
        max_skips=limit,
        seed=on.seed,
        preference=state.method.preference,
    )
    found = [score(each) for each in proposed]
    found += best_of.evolve(score, found, evaluations=scale.children, seed=on.seed)
    allowed = [each for each in found if each.genotype.skip_count <= limit]
    return best_of.best(allowed or found).genotype


def inheriting(bench: Bench, on: Target, state: SearchState, genotype: Genotype) -> float:
    """Test accuracy of a cell that inherits as the chosen one does."""
    train, valid = on.images.halves(on.seed)
    network, size = inherit(state.supernet, genotype), bench.scale.batch_size
    reestimate(network, train.batches(size))
    fit_head(network, train, valid, batch_size=size)
    return evaluate(network, on.test, _MOST).accuracy


def retrained(
    bench: Bench, on: Target, state: RetrainState, config: RetrainConfig, spent: float
) -> dict[str, Any]:
    """Retrain to the end; test accuracies by epoch are written down, and decide nothing.

    `spent` are the seconds of the arm so far.
    """
    clock, curve, tests = bench.clock, Curve([], [], []), list[float]()
    train, valid = on.images.split(derivation.RETRAIN_SHARE, on.seed)
    for record, seconds in timed(retrain(state, train, valid, config, clock=clock), clock):
        spent += seconds
        curve.epochs.append(record.epoch)
        curve.seconds.append(spent)
        curve.valid.append(record.valid_accuracy)
        tests.append(evaluate(state.result(), on.test, _MOST).accuracy)
    return curve.to_dict() | {"test": tests}


@torch.no_grad()
def final(network: ImageClassifier, on: Target, batch_size: int) -> dict[str, Any]:
    """What a model is worth, its statistics measured anew; `right` has a digit per test image."""
    train, valid = on.images.split(derivation.RETRAIN_SHARE, on.seed)
    reestimate(network, train.batches(batch_size))
    network.eval()
    hits = [network(batch).argmax(1) == labels for batch, labels in on.test.batches(_MOST)]
    right = torch.cat(hits).int().tolist()
    return {
        "valid_accuracy": evaluate(network, valid, _MOST).accuracy,
        "test_accuracy": sum(right) / len(right),
        "right": "".join(map(str, right)),
    }
