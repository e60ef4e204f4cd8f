"""Selection by perturbation keeps what is missed most, on a copy, and can be interrupted."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from core.nas.head import fit_head
from core.nas.images import LabelledImages
from core.nas.loop import TrainingConfig
from core.nas.normalisation import reestimate
from core.nas.selection.perturbation import Decision, decided_genotype, decisions, perturb
from core.nas.space import CELL_SPACES, Space
from core.nas.supernet import Supernet

Halves = tuple[LabelledImages, LabelledImages]

SPACES = [
    Space(channels=4, layers=3, nodes=nodes, input_channels=1, cells=cells, partial=partial)
    for cells, nodes, partial in (
        ("darts", 1, 1),
        ("s2", 2, 1),
        ("s3", 2, 1),
        ("nas-bench-201", 2, 1),
        ("s2", 2, 2),
    )
]
assert {space.cells for space in SPACES} == set(CELL_SPACES)


def prepared(space: Space, halves: Halves) -> Supernet:
    """Untrained, with statistics and a solved head: well above chance."""
    supernet = Supernet(space, 10, torch.Generator().manual_seed(0))
    reestimate(supernet, halves[0].batches(120))
    fit_head(supernet, *halves, batch_size=120)
    return supernet


def outcome(supernet: Supernet, valid: LabelledImages, seed: int = 0) -> list[Decision]:
    return list(perturb(supernet, valid, seed=seed, batch_size=120, images=60))


@pytest.mark.parametrize("space", SPACES, ids=lambda space: f"{space.cells}/{space.partial}")
def test_every_space_is_decided_on_a_copy(space: Space, halves: Halves) -> None:
    supernet = prepared(space, halves)
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    relaxation, mode = supernet.relaxation, supernet.training
    made = outcome(supernet, halves[1])
    assert len(made) == decisions(space)
    assert decided_genotype(space, made).cells == space.cells
    after = supernet.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert (supernet.relaxation, supernet.training) == (relaxation, mode)
    assert outcome(supernet, halves[1]) == made


def test_the_seed_decides_the_order(halves: Halves) -> None:
    space = Space(channels=2, layers=3, nodes=2, input_channels=1, cells="s2")
    supernet = prepared(space, halves)

    def begins(seed: int) -> tuple[str, int, int]:
        first = next(perturb(supernet, halves[1], seed=seed, images=20))
        return first.kind, first.node, first.source

    assert [begins(seed) for seed in range(5)] == [begins(seed) for seed in range(5)]
    assert len({begins(seed) for seed in range(5)}) > 1


@pytest.mark.parametrize("operation", ["skip_connect", "dil_conv_3x3"])
def test_the_operation_that_carries_everything_is_kept(operation: str, halves: Halves) -> None:
    space = Space(channels=4, layers=3, nodes=1, input_channels=1)
    supernet = Supernet(space, 10, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for alphas in supernet.alphas().values():
            alphas.zero_()
            alphas[:, space.operations.index(operation)] = 6.0
    reestimate(supernet, halves[0].batches(120))
    fit_head(supernet, *halves, batch_size=120)
    genotype = decided_genotype(space, outcome(supernet, halves[1]))
    cells = (genotype.normal, genotype.reduction)
    assert {e.operation for cell in cells for node in cell for e in node} == {operation}


def test_decisions_agree_with_measuring_by_hand(halves: Halves) -> None:
    space = Space(channels=4, layers=3, nodes=2, input_channels=1, cells="s3")
    supernet = prepared(space, halves)
    made = list(perturb(supernet, halves[1], seed=3, batch_size=200, images=200))
    oracle = Oracle(supernet, halves[1])
    for decision in made:
        rows = oracle.rows[decision.kind]
        row = space.edge(decision.node, decision.source)
        if decision.operation is None:
            edges = [space.edge(decision.node, s) for s in range(space.sources(decision.node))]
            trials = {edge: rows.clone() for edge in edges if rows[edge].any()}
            for edge, trial in trials.items():
                trial[edge] = 0
            scores = {edge: oracle.measure(decision.kind, t) for edge, t in trials.items()}
            assert scores[row] == max(scores.values())
            assert scores[row] == pytest.approx((decision.accuracy, -decision.loss), abs=1e-5)
            rows[row] = 0
            continue
        column = space.operations.index(decision.operation)
        found = {}
        for other in (1, 2):  # none is never kept here
            trial = rows.clone()
            trial[row, other] = 0
            found[other] = oracle.measure(decision.kind, trial)
        assert found[column] == min(found.values())
        assert found[column] == pytest.approx((decision.accuracy, -decision.loss), abs=1e-5)
        rows[row] = F.one_hot(torch.tensor(column), 3).float()


class Oracle:
    """The mixtures as plain tables, put into the supernet itself for a measurement."""

    def __init__(self, supernet: Supernet, valid: LabelledImages) -> None:
        self.supernet = supernet.train()
        self.valid = valid
        self.rows = {kind: each.detach().softmax(1) for kind, each in supernet.alphas().items()}

    @torch.no_grad()
    def measure(self, kind: str, table: Tensor) -> tuple[float, float]:
        tables = self.rows | {kind: table}
        self.supernet.relaxation = lambda name, _: tables[name]
        images = self.valid.normalise(self.valid.images)
        logits = self.supernet(images)
        hits = int((logits.argmax(1) == self.valid.labels).sum())
        return hits / len(images), -float(F.cross_entropy(logits, self.valid.labels))


def test_an_interrupted_selection_goes_on_alike(halves: Halves) -> None:
    space = Space(channels=4, layers=3, nodes=2, input_channels=1, cells="s2")
    supernet = prepared(space, halves)
    whole = outcome(supernet, halves[1])
    for count in (3, len(whole) - 1):
        rest = list(
            perturb(
                supernet, halves[1], seed=0, batch_size=120, images=60, decided=whole[:count]
            )
        )  # fmt: skip
        assert rest == whole[count:]
    with pytest.raises(ValueError, match="where this run decides"):
        next(perturb(supernet, halves[1], seed=0, decided=whole[1:3]))
    with pytest.raises(ValueError, match=f"3 of {decisions(space)} are made"):
        decided_genotype(space, whole[:3])


class Inverted:
    """A relaxation bound to something that refuses to be copied, as methods of search may."""

    def __deepcopy__(self, memo: object) -> Inverted:
        raise AssertionError("copied")

    def relax(self, kind: str, alphas: Tensor) -> Tensor:
        return (-alphas).softmax(1)


def test_the_supernets_own_relaxation_weighs(halves: Halves) -> None:
    space = Space(channels=4, layers=3, nodes=1, input_channels=1, cells="s2")
    supernet, inverted = prepared(space, halves), prepared(space, halves)
    with torch.no_grad():
        for plain, other in zip(
            supernet.alpha_parameters(), inverted.alpha_parameters(), strict=True
        ):
            plain.normal_(generator=torch.Generator().manual_seed(1))
            other.copy_(-plain)
    expected = outcome(supernet, halves[1])
    assert outcome(inverted, halves[1]) != expected
    inverted.relaxation = Inverted().relax
    assert outcome(inverted, halves[1]) == expected


def test_tuning_moves_only_the_copy(halves: Halves) -> None:
    space = Space(channels=4, layers=3, nodes=1, input_channels=1, cells="s2")
    supernet = prepared(space, halves)
    before = {name: value.clone() for name, value in supernet.state_dict().items()}

    def tuned(rate: float) -> list[Decision]:
        config = TrainingConfig(epochs=0, batch_size=60, learning_rate=rate, learning_rate_min=0.0)
        tuning = (halves[0], config)
        return list(perturb(supernet, halves[1], seed=0, batch_size=120, images=60, tuning=tuning))

    plain = outcome(supernet, halves[1])
    assert tuned(0.0) == plain  # steps of no length decide as no steps do
    moved = tuned(0.1)
    assert moved[0] == plain[0]
    assert all(a.loss != b.loss for a, b in zip(moved[1:], plain[1:], strict=True))
    after = supernet.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_impossible_arguments_are_refused(halves: Halves) -> None:
    space = Space(channels=4, layers=3, nodes=1, input_channels=1, cells="s2")
    supernet = prepared(space, halves)
    train, valid = halves
    with pytest.raises(ValueError, match="no images"):
        next(perturb(supernet, valid.take(torch.tensor([], dtype=torch.int64)), seed=0))
    made = [Decision("normal", 0, 0, "skip_connect", 0.5, 1.0)]
    tuning = (train, TrainingConfig(epochs=1))
    with pytest.raises(ValueError, match="start it anew"):
        next(perturb(supernet, valid, seed=0, tuning=tuning, decided=made))
