"""Which closed-form head answers best on the features that a search begins with.

Run from the project root::

    python -m tests.benchmarks.bench_heads SUITE [--scale tiny] [--seeds N]

Every task of the suite, from random weights and from the supernet of several tasks that it is none
of (trained first where `bench_transfer` has not left it). Heads see the training half; ridge
regression chooses its strength on the validation half, as in the product, the others have nothing
to choose: linear discriminants with the shrinkage of Ledoit & Wolf 2004, prototypes (the nearest
class mean of standardised features), and logistic regression by descent for comparison. A table
says what they are worth on the test images, as paired differences to ridge regression with
bootstrap intervals over the tasks.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from core.nas.head import collect_features, solve_head
from core.nas.normalisation import reestimate
from core.nas.warm_start import begin
from core.pipelines import bilevel
from tests.benchmarks.transfer import arms, pretraining
from tests.benchmarks.transfer.resampling import interval
from tests.benchmarks.transfer.settings import SCALES, Bench
from tests.benchmarks.transfer.spelling import bracket, points, table
from tests.benchmarks.transfer.tasks import deal

ROOT = Path("var/bench/transfer")
_BATCH = 256
_RIDGE = "ridge"
HEADS: Mapping[str, Callable[[], Any]] = {
    "linear discriminants": lambda: LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
    "prototypes": lambda: make_pipeline(StandardScaler(), NearestCentroid()),
    "logistic regression": lambda: make_pipeline(
        StandardScaler(), LogisticRegression(max_iter=300)
    ),
}

Features = NDArray[np.float64]


def measure(bench: Bench, name: str, seed: int, unit: str | None) -> dict[str, float]:
    """Test accuracy by head on the features of one start."""
    on = arms.target(bench, name, seed)
    train, valid = on.images.halves(seed)
    origin = bench.space if unit is None else pretraining.load(bench, unit, name)
    supernet = begin(
        origin, train.classes, train, valid,
        head="random", generator=bilevel.generator(seed), batch_size=_BATCH,
    )  # fmt: skip
    reestimate(supernet, train.batches(_BATCH))
    seen, held, asked = (
        collect_features(supernet, each.batches(_BATCH)).double()
        for each in (train, valid, on.test)
    )
    solution = solve_head(seen, train.labels, held, valid.labels, train.classes)
    answers = (asked @ solution.weight.t() + solution.bias).argmax(dim=1)
    found = {_RIDGE: float((answers == on.test.labels).double().mean())}
    for head, make in HEADS.items():
        fitted = make().fit(seen.numpy(), train.labels.numpy())
        found[head] = float(fitted.score(asked.numpy(), on.test.labels.numpy()))
    return found


def shared(bench: Bench, name: str) -> str:
    """The supernet of several tasks that this one is none of; trained where it is not there."""
    fold = deal(bench.domains, bench.scale.folds)[name]
    unit = f"shared/fold-{fold}"
    if bench.result(unit) is None:
        bench.keep(unit, pretraining.together(bench, fold))
    return unit


def main() -> None:
    """Measure, and print a table for each start."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("suite", type=Path)
    parser.add_argument("--scale", choices=SCALES, default="tiny")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    bench = Bench(given.suite, ROOT, SCALES[given.scale], "cpu")
    torch.set_num_threads(1)
    warnings.filterwarnings(
        "ignore", module="sklearn"
    )  # a constant feature, an unfinished descent
    for start in ("random weights", "a supernet of several tasks"):
        found: dict[str, list[dict[str, float]]] = {}
        for name in bench.domains:
            unit = None if start == "random weights" else shared(bench, name)
            found[name] = [measure(bench, name, seed, unit) for seed in range(given.seeds)]
        print(f"\nFrom {start}, {len(found)} tasks, {given.seeds} seeds:\n")
        print(_told(found))


def _told(found: Mapping[str, list[dict[str, float]]]) -> str:
    body = []
    for head in (_RIDGE, *HEADS):
        groups = [[each[head] - each[_RIDGE] for each in rows] for rows in found.values()]
        mean = fmean(each[head] for rows in found.values() for each in rows)
        difference = points(fmean(value for group in groups for value in group))
        told = "" if head == _RIDGE else f"{difference} {bracket(interval(groups, fmean), points)}"
        body.append((head, f"{100 * mean:.1f}", told))
    return table(("head", "test", "difference to ridge"), body)


if __name__ == "__main__":
    main()
