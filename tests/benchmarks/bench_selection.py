"""Whether a score with inherited weights ranks cells as retraining does, and what `best of` gains.

Run from the project root::

    python -m tests.benchmarks.bench_selection SUITE [--tasks NAME ...] [--channels C] [--seed S]

SUITE as for `bench_embedders`. For every task: a short first-order search, then candidates (by
magnitude, with few skips, by perturbation, drawn by the alphas, and random cells), each scored in
three ways (inherited weights; after two epochs; after two epochs of random weights) and retrained
from the inherited weights with the same settings. Prints every candidate, Kendall's tau between
score and retrained test accuracy (and, as a control, between size and accuracy), and the retrained
accuracy of what each rule selects. One thread; about ten minutes of one core.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from scipy.stats import kendalltau

from core.nas import warm_start
from core.nas.evaluate import evaluate
from core.nas.genotype import Genotype
from core.nas.head import fit_head, remove_temperature
from core.nas.images import LabelledImages
from core.nas.loop import TrainingConfig
from core.nas.network import Network, inherit
from core.nas.normalisation import reestimate
from core.nas.retrain import RetrainConfig, RetrainState, retrain
from core.nas.search import SearchConfig, SearchState, run
from core.nas.selection.best_of import Candidate, Proposal, Scorer, best, proposals
from core.nas.selection.perturbation import decided_genotype, perturb
from core.nas.selection.variation import uniform_sample
from core.nas.space import Space
from core.nas.supernet import Supernet
from core.ot.image_batches import resize
from tests.benchmarks.bench_embedders import Task, read_suite

TASKS = ("greek_lower", "fashion", "icons_arrows", "texture_patches")
IMAGES, TRAINING, SIDE = 1000, 700, 16
NODES = 3
SAMPLES, RANDOM = 2, 3
SEARCH_EPOCHS, RETRAIN_EPOCHS = 5, 10


@dataclass(frozen=True)
class Row:
    """A candidate: its scores by kind of score, and its accuracy when retrained."""

    candidate: Candidate
    scores: Mapping[str, Candidate]
    retrained: float


def split(task: Task) -> tuple[LabelledImages, LabelledImages]:
    """Images to search and retrain on, and those only tested on; 16 pixels a side."""
    small = resize(task.images.float(), SIDE).round().clamp(0, 255).to(torch.uint8)
    everything = LabelledImages.measured(small, task.labels, len(task.classes))
    return everything.split(TRAINING / len(small), 0)


def searched(images: LabelledImages, channels: int, seed: int) -> Supernet:
    """A supernet after a short search."""
    train, valid = images.halves(seed)
    space = Space(channels=channels, layers=3, nodes=NODES, input_channels=images.images.shape[1])
    generator = torch.Generator().manual_seed(seed)
    supernet = warm_start.begin(
        space, images.classes, train, valid, head="closed_form", generator=generator, batch_size=64
    )
    config = SearchConfig(
        epochs=SEARCH_EPOCHS, learning_rate=0.05, alpha_learning_rate=3e-3, seed=seed
    )
    for _ in run(SearchState(supernet), train, valid, config):
        pass
    reestimate(supernet, train.batches(64))
    return supernet


def proposed(supernet: Supernet, valid: LabelledImages, seed: int) -> list[Proposal]:
    """All candidates."""
    made = list(perturb(supernet, valid, seed=seed, images=128))
    draws = torch.Generator().manual_seed(seed)
    given = [Proposal(decided_genotype(supernet.space, made), "perturbation")]
    given += [Proposal(uniform_sample(supernet.space, draws), "random") for _ in range(RANDOM)]
    return proposals(supernet, samples=SAMPLES, max_skips=2, seed=seed, given=given)


def retrained(
    supernet: Supernet, genotype: Genotype, images: LabelledImages, seed: int
) -> Network:
    """Retrained from the inherited weights, as after a search."""
    network = inherit(supernet, genotype)
    train, valid = images.split(0.85, seed)
    reestimate(network, train.batches(64))
    remove_temperature(network, fit_head(network, train, valid, batch_size=64))
    config = RetrainConfig(epochs=RETRAIN_EPOCHS, learning_rate=0.05, seed=seed)
    for _ in retrain(RetrainState(network), train, valid, config):
        pass
    reestimate(network, train.batches(64))
    return network


def rows(task: Task, channels: int, seed: int) -> list[Row]:
    """Every candidate of a task, scored and retrained."""
    images, test = split(task)
    began = time.process_time()
    supernet = searched(images, channels, seed)
    train, valid = images.halves(seed)
    print(f"\n{task.name}: search {time.process_time() - began:.0f} CPU-s", flush=True)
    tuning = TrainingConfig(epochs=2, learning_rate=0.05, seed=seed)
    fresh = Supernet(supernet.space, images.classes, torch.Generator().manual_seed(seed + 1))
    scorers = {
        "inherited": Scorer(supernet, train, valid, seed=seed),
        "tuned": Scorer(supernet, train, valid, seed=seed, tuning=tuning),
        "fresh": Scorer(fresh, train, valid, seed=seed, tuning=tuning),
    }
    found = []
    for proposal in proposed(supernet, valid, seed):
        scores = {name: score(proposal) for name, score in scorers.items()}
        network = retrained(supernet, proposal.genotype, images, seed)
        accuracy = evaluate(network, test, 64).accuracy
        found.append(Row(scores["inherited"], scores, accuracy))
        cells = " ".join(f"{name} {each.accuracy:.3f}" for name, each in scores.items())
        print(
            f"  {proposal.origin:20} {cells} retrained {accuracy:.3f} "
            f"parameters {found[-1].candidate.parameters}",
            flush=True,
        )
    return found


def tau(found: Sequence[Row], name: str) -> float:
    """Kendall's tau-b between a kind of score and the retrained accuracy."""
    scores = [row.scores[name].accuracy for row in found]
    return float(kendalltau(scores, [row.retrained for row in found]).statistic)


def selected(found: Sequence[Row], name: str) -> float:
    """Retrained accuracy of the candidate that scores best in that way."""
    winner = best(row.scores[name] for row in found).genotype
    return next(row.retrained for row in found if row.candidate.genotype == winner)


def report(found: Sequence[Row]) -> dict[str, float]:
    """The figures of one task, printed."""
    names = list(found[0].scores)
    by_origin = {row.candidate.origin: row.retrained for row in reversed(found)}
    spare = [row.retrained for row in found if row.candidate.origin == "random"]
    figures = {f"tau {name}": tau(found, name) for name in names}
    sizes = [row.candidate.parameters for row in found]
    answers = [row.retrained for row in found]
    figures["tau parameters"] = float(kendalltau(sizes, answers).statistic)
    figures |= {f"best of, {name}": selected(found, name) for name in names}
    figures["largest"] = answers[sizes.index(max(sizes))]
    figures["magnitude"] = by_origin["magnitude"]
    figures["perturbation"] = by_origin.get("perturbation", by_origin["magnitude"])
    figures["random mean"] = sum(spare) / len(spare)
    figures["best in hindsight"] = max(answers)
    print("  " + ", ".join(f"{name} {value:.3f}" for name, value in figures.items()), flush=True)
    return figures


def main() -> None:
    """Print every task, then the means."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("suite", type=Path, nargs="?")
    parser.add_argument("--tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--channels", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.suite is None:  # `make bench` has no suite to give
        print("skipped: it needs the folder of a suite (see the module's docstring)")
        return
    torch.set_num_threads(1)
    tasks = [t for t in read_suite(arguments.suite, IMAGES) if t.name in arguments.tasks]
    figures = [report(rows(task, arguments.channels, arguments.seed)) for task in tasks]
    print("\nmean over tasks")
    for name in figures[0]:
        print(f"  {name:24} {sum(each[name] for each in figures) / len(figures):.3f}")


if __name__ == "__main__":
    main()
