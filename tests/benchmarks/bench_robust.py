"""Is the default search better than random cells, and never worse than plain DARTS?

Run from the project root::

    python -m tests.benchmarks.bench_robust SUITE [--tasks NAME ...] [--seeds N] [--jobs N]
        [--methods NAME ...] [--best-of] [--screens NAME ...]

SUITE is a folder of TASK.zip archives. For every task and seed: a supernet is searched by each
method, cells are chosen, and every choice is retrained alike, from the weights its supernet gives
it with a solved head, then tested on the task's test images, which nothing else looks at.

- ``METHOD``: that method under the guard, and its strongest operations with few skips;
- ``best-of``: the same search's best of scored candidates, if asked for;
- ``SCREEN``: the best of so many cells drawn by its alphas, by that pre-screen, if asked for;
- ``plain``: first-order DARTS and its strongest operations, nothing else;
- ``random``: three cells drawn at random, as many parameters as the default's within a tenth, with
  the weights of the default's supernet; their mean.

Prints accuracies, and paired differences from the first method with 95 % intervals over tasks and
seeds (Student's t); writes them to var/bench/search.json under ``robust``.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import torch
from scipy.stats import t as student

from core.domain import effort
from core.nas import methods, search, warm_start
from core.nas.derive import derive
from core.nas.evaluate import evaluate
from core.nas.genotype import Genotype
from core.nas.guard_config import GuardConfig
from core.nas.head import fit_head, remove_temperature
from core.nas.images import LabelledImages, epoch_generator
from core.nas.network import inherit, parameter_count
from core.nas.normalisation import reestimate
from core.nas.objectives import parameter_costs
from core.nas.retrain import RetrainConfig, RetrainState, retrain
from core.nas.search import SearchConfig, SearchState
from core.nas.selection import best_of, perturbation
from core.nas.selection.best_of import Proposal, Scorer
from core.nas.selection.prescreens import PRESCREENS, best_screened
from core.nas.selection.variation import uniform_sample
from core.nas.space import Space
from core.nas.supernet import Supernet
from tests.benchmarks.suite import read_labelled

TASKS = (
    "latin_upper", "icons_arrows", "fashion", "sprites_terrain", "emoji_hands",
    "wallpaper_patches",
)  # fmt: skip
SIDE, IMAGES, TESTED = 16, 600, 400
CHANNELS, LAYERS = 8, 3
SEARCH_EPOCHS, RETRAIN_EPOCHS = 6, 10
SAMPLES, CHILDREN, MAX_SKIPS, PERTURBED_IMAGES = 12, 12, 2, 128  # as core.pipelines.choosing
RANDOM_CELLS = 3
RESULT = Path("var/bench/search.json")


def searched(name: str, train: LabelledImages, seed: int) -> SearchState:
    """A supernet after a cold search by that method."""
    space = Space(
        channels=CHANNELS,
        layers=LAYERS,
        input_channels=train.images.shape[1],
        partial=4 if name == "pc-darts" else 1,
    )
    half, valid = train.halves(seed)
    generator = torch.Generator().manual_seed(seed)
    supernet = warm_start.begin(
        space, train.classes, half, valid, head="closed_form", generator=generator, batch_size=64
    )
    state = SearchState(supernet, methods.create(name, supernet))
    config = SearchConfig(
        epochs=SEARCH_EPOCHS,
        batch_size=64,
        alpha_learning_rate=3e-3,
        seed=seed,
        guard=GuardConfig(max_skips=MAX_SKIPS).within(SEARCH_EPOCHS),
    )
    for _ in search.run(state, half, valid, config):
        pass
    reestimate(supernet, half.batches(64))
    return state


def best_scored(state: SearchState, train: LabelledImages, seed: int) -> Genotype:
    """The best of scored candidates, as the product finds it where asked to."""
    half, valid = train.halves(seed)
    score = Scorer(state.supernet, half, valid, seed=seed, batch_size=64)
    preference = state.method.preference
    made = list(perturbation.perturb(state.supernet, valid, seed=seed, images=PERTURBED_IMAGES))
    missed = Proposal(perturbation.decided_genotype(state.supernet.space, made), "perturbation")
    proposed = best_of.proposals(
        state.supernet,
        samples=SAMPLES,
        max_skips=MAX_SKIPS,
        seed=seed,
        given=[missed],
        preference=preference,
    )
    found = [score(each) for each in proposed]
    found += best_of.evolve(score, found, evaluations=CHILDREN, seed=seed)
    allowed = [each for each in found if each.genotype.skip_count <= MAX_SKIPS]
    return best_of.best(allowed or found).genotype


def random_cells(
    space: Space, classes: int, like: Genotype, seed: int, *, count: int = RANDOM_CELLS
) -> list[Genotype]:
    """Uniform draws of about as many parameters."""
    costs, generator = parameter_costs(space, classes), epoch_generator(seed, 1)
    wanted, found = costs.cost(like), list[Genotype]()
    for slack in (0.1, 0.2, 0.5, math.inf):
        for _ in range(500):
            drawn = uniform_sample(space, generator)
            if abs(costs.cost(drawn) - wanted) <= slack * wanted:
                found.append(drawn)
            if len(found) == count:
                return found
    return found


def retrained(
    supernet: Supernet, genotype: Genotype, train: LabelledImages, test: LabelledImages, seed: int
) -> float:
    """Test accuracy after retraining from inherited weights."""
    half, valid = train.halves(seed)
    network = inherit(supernet, genotype)
    reestimate(network, half.batches(64))
    remove_temperature(network, fit_head(network, half, valid, batch_size=64))
    rest, held_out = train.split(0.85, seed)
    config = RetrainConfig(epochs=RETRAIN_EPOCHS, batch_size=64, seed=seed)
    state = RetrainState(network, config)
    for _ in retrain(state, rest, held_out, config):
        pass
    kept = state.result()
    reestimate(kept, rest.batches(64))
    return evaluate(kept, test, 64).accuracy


def run(
    suite: Path,
    task: str,
    seed: int,
    names: tuple[str, ...],
    *,
    scored: bool,
    screens: Sequence[str],
) -> dict[str, float]:
    """All accuracies of one task and seed."""
    torch.set_num_threads(1)
    train, test = read_labelled(suite, task, side=SIDE, train=IMAGES, test=TESTED, seed=seed)
    found: dict[str, float] = {}
    for name in names:
        began = time.process_time()
        state = searched(name, train, seed)
        genotype = derive(state.supernet, state.method.preference, max_skips=MAX_SKIPS)
        found[f"{name} seconds"] = time.process_time() - began
        found[name] = retrained(state.supernet, genotype, train, test, seed)
        found[f"{name} parameters"] = parameter_count(inherit(state.supernet, genotype))
        if name == "darts":
            plain = derive(state.supernet)
            found["plain"] = retrained(state.supernet, plain, train, test, seed)
            found["plain skips"] = plain.skip_count
        if name == names[0] and state.supernet.space.partial == 1:
            cells = random_cells(state.supernet.space, train.classes, genotype, seed)
            scores = [retrained(state.supernet, cell, train, test, seed) for cell in cells]
            found["random"] = statistics.mean(scores)
            for screen in screens:
                began = time.process_time()
                genotype = best_screened(
                    state.supernet,
                    train.halves(seed)[0],
                    PRESCREENS[screen],
                    samples=effort.SCREENED,
                    max_skips=MAX_SKIPS,
                    seed=seed,
                    preference=state.method.preference,
                ).genotype
                found[f"{screen} seconds"] = time.process_time() - began
                found[screen] = retrained(state.supernet, genotype, train, test, seed)
                found[f"{screen} parameters"] = parameter_count(inherit(state.supernet, genotype))
            if scored:
                began = time.process_time()
                genotype = best_scored(state, train, seed)
                found["best-of seconds"] = time.process_time() - began
                found["best-of"] = retrained(state.supernet, genotype, train, test, seed)
    return found


def paired(rows: list[dict[str, float]], first: str, other: str) -> dict[str, float]:
    """Mean difference of two columns and its 95 % interval over tasks and seeds."""
    differences = [row[first] - row[other] for row in rows if first in row and other in row]
    mean, count = statistics.mean(differences), len(differences)
    reach = math.nan
    if count > 1:
        reach = student.ppf(0.975, count - 1) * statistics.stdev(differences) / count**0.5
    return {"mean": mean, "low": mean - reach, "high": mean + reach, "pairs": count}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("suite", type=Path)
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--methods", nargs="+", default=("darts",), help="the default comes first")
    parser.add_argument("--best-of", action="store_true", help="score candidates, too")
    parser.add_argument("--screens", nargs="+", default=(), choices=PRESCREENS)
    given = parser.parse_args()
    names = tuple(given.methods)
    results: dict[str, dict[int, dict[str, float]]] = defaultdict(dict)
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
        jobs = {
            pool.submit(
                run,
                given.suite,
                task,
                seed,
                names,
                scored=given.best_of,
                screens=given.screens,
            ): (task, seed)
            for seed in range(given.seeds)
            for task in given.tasks
        }
        for job in as_completed(jobs):
            task, seed = jobs[job]
            results[task][seed] = job.result()
            print(f"{task}, seed {seed}: " + _spelled(results[task][seed]), flush=True)
    rows = [row for seeds in results.values() for row in seeds.values()]
    controls = "best-of", *PRESCREENS, "plain", "random"
    columns = [*names, *(each for each in controls if each in rows[0])]
    compared = {other: paired(rows, names[0], other) for other in columns if other != names[0]}
    _print(results, columns, names[0], compared)
    kept = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    kept["robust"] = {"default": names[0], "tasks": results, "compared": compared}
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(kept, indent=1))


def _spelled(row: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in row.items())


def _print(
    results: dict[str, dict[int, dict[str, float]]],
    columns: list[str],
    default: str,
    compared: dict[str, dict[str, float]],
) -> None:
    print("\n| task | " + " | ".join(columns) + " |\n|---|" + "---|" * len(columns))
    for task, seeds in results.items():
        cells = [
            " ".join(f"{100 * seeds[seed][column]:.1f}" for seed in sorted(seeds))
            for column in columns
        ]
        print(f"| {task} | " + " | ".join(cells) + " |")
    for other, found in compared.items():
        print(
            f"{default} - {other}: {100 * found['mean']:+.2f} points "
            f"[{100 * found['low']:+.2f}, {100 * found['high']:+.2f}] over {found['pairs']} pairs"
        )


if __name__ == "__main__":
    main()
