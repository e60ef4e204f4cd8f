"""Candidates are different, scored once and alike, and the best of them is found."""

from __future__ import annotations

import functools

import pytest
import torch

from core.nas.derive import derive
from core.nas.genotype import Genotype
from core.nas.images import LabelledImages
from core.nas.loop import TrainingConfig
from core.nas.network import inherit, parameter_count
from core.nas.search import SearchConfig, SearchState, run
from core.nas.selection.best_of import (
    Candidate,
    Proposal,
    Scorer,
    best,
    evolve,
    proposals,
)
from core.nas.selection.variation import uniform_sample
from core.nas.space import CELL_SPACES, Space
from core.nas.supernet import Supernet

Halves = tuple[LabelledImages, LabelledImages]

SPACE = Space(channels=4, layers=3, nodes=2, input_channels=1)


def fresh(space: Space = SPACE) -> Supernet:
    return Supernet(space, 10, torch.Generator().manual_seed(0))


@pytest.fixture
def trained(halves: Halves) -> Supernet:
    return _trained(halves)


@functools.cache  # not a wider fixture: that would train before the threads are limited to one
def _trained(halves: Halves) -> Supernet:
    state = SearchState(fresh())
    list(run(state, *halves, SearchConfig(epochs=2, batch_size=30, learning_rate=0.1)))
    return state.supernet


@pytest.mark.parametrize("cells", CELL_SPACES)
def test_magnitude_with_few_skips(cells: str) -> None:
    supernet = fresh(Space(channels=4, layers=3, cells=cells))
    with torch.no_grad():
        for alphas in supernet.alphas().values():
            column = supernet.space.operations.index("skip_connect")
            alphas[:, column] += torch.linspace(2, 3, len(alphas))
    plain = derive(supernet)
    assert plain.skip_count > 2
    assert derive(supernet, max_skips=plain.skip_count) == plain
    for most in (0, 1, 2):
        found = derive(supernet, max_skips=most)
        assert found.skip_count <= most
        assert found.reduction == plain.reduction
    assert derive(supernet) == plain
    # The strongest skip outlives the others.
    (kept,) = [
        supernet.space.edge(node, edge.source)
        for node, edges in enumerate(derive(supernet, max_skips=1).normal)
        for edge in edges
        if edge.operation == "skip_connect"
    ]
    assert kept == supernet.space.edges - 1
    with pytest.raises(ValueError, match="max_skips"):
        derive(supernet, max_skips=-1)


def test_proposals_are_different_and_repeat() -> None:
    supernet = fresh()
    other = uniform_sample(SPACE, torch.Generator().manual_seed(5))
    given = [Proposal(other, "perturbation"), Proposal(derive(supernet), "perturbation")]
    found = proposals(supernet, samples=6, max_skips=0, seed=3, given=given)
    assert found == proposals(supernet, samples=6, max_skips=0, seed=3, given=given)
    assert len({each.genotype for each in found}) == len(found)
    assert found[0] == Proposal(derive(supernet), "magnitude")
    assert given[0] in found
    assert sum(each.origin == "sample" for each in found) == 6
    assert found != proposals(supernet, samples=6, max_skips=0, seed=4, given=given)


def test_a_small_space_runs_out_of_samples() -> None:
    supernet = fresh(Space(channels=4, layers=3, nodes=1, cells="s2"))
    found = proposals(supernet, samples=200, max_skips=2, seed=0)
    assert len(found) == 16  # two operations on two edges of two cells


def test_scores_repeat_tell_and_change_nothing(trained: Supernet, halves: Halves) -> None:
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    score = Scorer(trained, *halves, seed=0)
    proposal = Proposal(derive(trained), "magnitude")
    first = score(proposal)
    assert first.accuracy > 0.4  # of ten classes
    assert first.parameters == parameter_count(inherit(trained, proposal.genotype))
    again = score(Proposal(proposal.genotype, "evolution"))
    assert (again.accuracy, again.loss, again.origin) == (first.accuracy, first.loss, "evolution")
    assert score.evaluations == 1
    assert Scorer(trained, *halves, seed=0)(proposal) == first
    after = trained.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_scoring_images_are_not_seen_by_the_head(trained: Supernet, halves: Halves) -> None:
    train, valid = halves
    _, held_out = valid.sample(len(valid), torch.Generator()).halves(0)
    score = Scorer(trained, train, valid, seed=0)
    # Random answers for what is scored, and only for that, cost all that was learned.
    assert len(held_out) < len(valid)
    noise = torch.randint(10, (len(valid),), generator=torch.Generator().manual_seed(1))
    shuffled = LabelledImages(valid.images, noise, 10, valid.mean, valid.std)
    proposal = Proposal(derive(trained), "magnitude")
    assert Scorer(trained, train, shuffled, seed=0)(proposal).accuracy < 0.3
    assert score(proposal).accuracy > 0.4


def test_tuned_scores_learn(trained: Supernet, halves: Halves) -> None:
    proposal = Proposal(derive(trained), "magnitude")
    plain = Scorer(trained, *halves, seed=0)(proposal)
    config = TrainingConfig(epochs=4, batch_size=30, learning_rate=0.05)
    tuned = Scorer(trained, *halves, seed=0, tuning=config)(proposal)
    assert tuned.loss < plain.loss


def candidate(accuracy: float, parameters: int, origin: str = "sample") -> Candidate:
    genotype = uniform_sample(SPACE, torch.Generator().manual_seed(parameters))
    return Candidate(genotype, origin, accuracy, 1.0, parameters)


def test_the_best_is_accurate_then_small_then_early() -> None:
    few = [candidate(0.5, 10), candidate(0.9, 30), candidate(0.9, 20), candidate(0.9, 20, "late")]
    assert best(few) is few[2]
    with pytest.raises(ValueError, match="none"):
        best([])


def convolutions(proposal: Proposal) -> Candidate:
    """A landscape with one top: as many 3x3 separable convolutions as edges."""
    genotype = proposal.genotype
    edges = [e for cell in (genotype.normal, genotype.reduction) for node in cell for e in node]
    hits = sum(edge.operation == "sep_conv_3x3" for edge in edges)
    return Candidate(genotype, proposal.origin, hits / len(edges), 1 - hits / len(edges), 0)


def evolved(seed: int, evaluations: int = 200) -> list[Candidate]:
    draws = torch.Generator().manual_seed(7)
    begin = [convolutions(Proposal(uniform_sample(SPACE, draws), "sample")) for _ in range(8)]
    return list(evolve(convolutions, begin, evaluations=evaluations, seed=seed))


def test_evolution_climbs_and_repeats() -> None:
    children = evolved(0)
    assert len(children) == 200
    assert best(children).accuracy == 1.0
    assert evolved(0) == children
    assert evolved(1) != children
    seen: set[Genotype] = {child.genotype for child in children}
    assert len(seen) == 200  # none twice while there are others


def test_the_oldest_leave_even_if_they_are_the_best() -> None:
    draws = torch.Generator().manual_seed(7)
    top = Candidate(uniform_sample(SPACE, draws), "sample", 9.0, 0.0, 0)
    rest = [convolutions(Proposal(uniform_sample(SPACE, draws), "sample")) for _ in range(3)]
    children = list(evolve(convolutions, [top, *rest], evaluations=40, seed=0, tournament=4))

    def apart(child: Candidate) -> int:
        pairs = zip(
            child.genotype.normal + child.genotype.reduction,
            top.genotype.normal + top.genotype.reduction,
            strict=True,
        )
        return sum(mine != its for mine, its in pairs)

    assert apart(children[0]) == 1  # its first child has the best as parent
    assert max(apart(child) for child in children[5:]) > 1
    with pytest.raises(ValueError, match="0 candidates"):
        next(evolve(convolutions, [], evaluations=1, seed=0))
