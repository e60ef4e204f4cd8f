"""A search as torchrun starts it, on two processes: what each ends with, as JSON files."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import torch.distributed as distributed
import torch.nn.functional as F
from sklearn.datasets import load_digits

from core.nas import methods, search
from core.nas.derive import derive
from core.nas.images import LabelledImages
from core.nas.loop import gradients
from core.nas.network import inherit
from core.nas.ranks import ProcessGroup
from core.nas.retrain import RetrainConfig, RetrainState, retrain
from core.nas.search import SearchConfig, SearchState
from core.nas.space import Space
from core.nas.supernet import Supernet


def main() -> None:
    """The parts are told apart by their names in the files."""
    distributed.init_process_group("gloo")
    torch.set_num_threads(1)
    ranks = ProcessGroup()
    raw = load_digits()
    images = torch.tensor(raw.images / 16 * 255).round().to(torch.uint8).unsqueeze(1)
    digits = LabelledImages.measured(images, torch.tensor(raw.target).long(), 10)
    train, valid = digits.sample(101, torch.Generator().manual_seed(0)).halves(0)
    space = Space(channels=2, layers=3, nodes=2, input_channels=1)
    supernet = Supernet(space, 10, torch.Generator().manual_seed(0))
    state = SearchState(supernet, methods.create("drnas", supernet))
    config = SearchConfig(
        epochs=2, batch_size=17, alpha_learning_rate=0.05, solve_head=True, seed=1
    )
    records = list(search.run(state, train, valid, config, ranks=ranks))
    found = {
        "genotype": derive(supernet).to_json(),
        "alphas": [p.tolist() for p in supernet.alpha_parameters()],
        "weight": float(sum(p.detach().double().sum() for p in supernet.weight_parameters())),
        "head": supernet.classifier.weight.tolist(),
        "accuracies": [r.train_accuracy for r in records] + [r.valid_accuracy for r in records],
        "linear": linear(ranks).tolist(),
        "disagreement": disagreement(ranks),
        "least": ranks.least(torch.tensor([ranks.rank, -ranks.rank])).tolist(),
        "of_first": ranks.of_first(torch.tensor([5 + ranks.rank])).tolist(),
        "retrained": retrained(supernet, train, valid, ranks),
    }
    Path(sys.argv[1], f"{ranks.rank}.json").write_text(json.dumps(found))
    distributed.destroy_process_group()


def linear(ranks: ProcessGroup) -> torch.Tensor:
    """The averaged gradient of a linear classifier on a batch of seven."""
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(7, 5, generator=generator, dtype=torch.float64)
    labels = torch.arange(7) % 3
    weight = torch.nn.Parameter(torch.ones(3, 5, dtype=torch.float64))
    some, answers = ranks.share(images, labels)
    found = gradients(F.cross_entropy(some @ weight.t(), answers), [weight])
    (averaged,) = ranks.average(found, len(answers), len(labels))
    assert averaged is not None
    return averaged


def retrained(
    supernet: Supernet, train: LabelledImages, valid: LabelledImages, ranks: ProcessGroup
) -> list[float]:
    """A retraining within a budget, by clocks of which the second goes twice as fast."""
    config = RetrainConfig(epochs=4, batch_size=17, ema=0.5, budget_seconds=6.0, seed=1)
    state = RetrainState(inherit(supernet, derive(supernet)), config)
    clock = iter(range(0, 1000, 1 + ranks.rank))
    records = list(
        retrain(state, train, valid, config, clock=lambda: float(next(clock)), ranks=ranks)
    )
    weights = sum(float(p.detach().double().sum()) for p in state.result().parameters())
    return [weights, *(each.valid_loss for each in records), *(each.epochs for each in records)]


def disagreement(ranks: ProcessGroup) -> str:
    """What is said of values that differ."""
    try:
        ranks.agree("test", torch.tensor([float(ranks.rank)]))
    except RuntimeError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    main()
