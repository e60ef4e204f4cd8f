"""A known front is found, nothing is scored twice, and area never falls while weights rest."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

import pytest
import torch
import torch.nn.functional as F

from core.nas.genotype import Genotype
from core.nas.images import LabelledImages
from core.nas.pareto import Objectives, non_dominated, vary_genotypes
from core.nas.paths import Path
from core.nas.refinement import Archive, Tuner, child_of, encoded, refine, ridge_predictor, samples
from core.nas.selection.variation import uniform_sample
from core.nas.space import Space
from core.nas.supernet import Supernet
from tests.benchmarks.evolution.area import hypervolume, spread

Bits = tuple[int, ...]
CORNER = (9.0, 9.0)


def error(genome: Bits) -> float:
    """Trailing ones are wrong, but for a price."""
    return float(8 - sum(genome) + (genome[0] & genome[-1]))


def vary(first: Bits, second: Bits, generator: torch.Generator) -> Bits:
    mask = torch.randint(2, (8,), generator=generator).tolist()
    child = [a if m else b for a, b, m in zip(first, second, mask, strict=True)]
    child[int(torch.randint(8, (), generator=generator))] ^= 1
    return tuple(child)


def cost(genome: Bits) -> float:
    return float(sum(bit * weight for bit, weight in enumerate_bits(genome)))


def costs(genome: Bits) -> Objectives:
    return (cost(genome),)


def enumerate_bits(genome: Bits) -> list[tuple[int, int]]:
    return [(bit, 1 + at // 4) for at, bit in enumerate(genome)]


def linear(scored: Mapping[Bits, float]) -> Callable[[Bits], float]:
    columns = torch.tensor([[1, *genome] for genome in scored], dtype=torch.float64)
    targets = torch.tensor(list(scored.values()), dtype=torch.float64)
    slopes = torch.linalg.pinv(columns) @ targets
    return lambda genome: float(torch.tensor([1, *genome], dtype=torch.float64) @ slopes)


def archives(predictor: bool, rounds: int = 40) -> tuple[list[Archive[Bits]], list[Bits]]:
    draws, calls = torch.Generator().manual_seed(0), list[Bits]()

    def counted(genome: Bits) -> float:
        calls.append(genome)
        return error(genome)

    initial = [tuple(torch.randint(2, (8,), generator=draws).tolist()) for _ in range(6)]
    found = refine(
        initial, counted, costs, vary, children=5, population=10, seed=0,
        predictor=linear if predictor else None,
    )  # fmt: skip
    return list(itertools.islice(found, rounds)), calls


@pytest.mark.parametrize("predictor", [False, True])
def test_the_front_of_an_enumerated_space_is_found_and_nothing_scored_twice(
    predictor: bool,
) -> None:
    found, calls = archives(predictor)
    everything = [(error(g), cost(g)) for g in itertools.product((0, 1), repeat=8)]
    exact = {everything[i] for i in non_dominated(everything)}
    assert {found[-1].scored[each] for each in found[-1].front()} == exact
    assert len(calls) == len(set(calls)) == found[-1].evaluations < 256
    areas = [hypervolume(each.scored.values(), CORNER) for each in found]
    assert areas == sorted(areas)
    assert areas[0] < areas[-1] == hypervolume(exact, CORNER)


def test_tuned_weights_measure_the_front_again_and_nothing_else() -> None:
    worth, calls, tuned = [0.0], list[Bits](), list[int]()

    def drifting(genome: Bits) -> float:
        calls.append(genome)
        return error(genome) - worth[0]

    def tune(parents: Sequence[Bits], index: int) -> None:
        assert 0 < len(parents) <= 4
        worth[0] += 0.25
        tuned.append(index)

    initial: list[Bits] = [(0,) * 8, (1,) * 8]
    found = refine(initial, drifting, costs, vary, children=3, population=4, seed=0, tune=tune)
    first, second = itertools.islice(found, 2)
    assert tuned == [1]
    again = len(first.front())
    assert second.evaluations == len(calls) == 2 + again + 3
    for genome in second.front():
        assert second.scored[genome][0] == error(genome) - worth[0]


def test_weights_learn_along_children_of_the_best_and_alphas_rest() -> None:
    drawing = torch.Generator().manual_seed(0)
    space = Space(channels=4, layers=3, nodes=2, input_channels=1)
    supernet = Supernet(space, 2, drawing)
    labels = torch.arange(64) % 2
    pixels = (labels[:, None, None, None] * 200 + torch.randint(0, 50, (64, 1, 8, 8))).byte()
    images = LabelledImages.measured(pixels, labels, 2)
    drawn = samples(supernet, 4, seed=0)
    assert drawn == samples(supernet, 4, seed=0) != samples(supernet, 4, seed=1)
    alphas = {kind: each.detach().clone() for kind, each in supernet.alphas().items()}
    tuner = Tuner(supernet, images, batch_size=16, rate=0.05, seed=0)

    def loss() -> float:
        with torch.no_grad():
            every = next(images.batches(64))
            logits = [Path(supernet, each)(every[0]) for each in drawn]
            return float(torch.stack([F.cross_entropy(x, every[1]) for x in logits]).mean())

    before, children = loss(), list[Genotype]()

    def child(generator: torch.Generator) -> Genotype:
        children.append(child_of(drawn, generator))
        return children[-1]

    tuner.tune(child, 1, steps=10)
    assert len(children) == 20
    parts = {edge for each in drawn for node in each.normal for edge in node}
    assert all(edge in parts for each in children for node in each.normal for edge in node)
    assert loss() < before / 2
    assert all(torch.equal(alphas[kind], each) for kind, each in supernet.alphas().items())


def test_an_errors_predictor_knows_a_linear_one() -> None:
    space, draws = Space(channels=4, layers=3, nodes=3), torch.Generator().manual_seed(0)
    size = len(encoded(uniform_sample(space, draws)))
    slopes = torch.rand(size, generator=draws, dtype=torch.float64)
    seen = [uniform_sample(space, draws) for _ in range(300)]
    predicted = ridge_predictor({each: float(encoded(each) @ slopes) for each in seen})
    for _ in range(20):
        new = vary_genotypes(seen[0], uniform_sample(space, draws), draws)
        assert predicted(new) == pytest.approx(float(encoded(new) @ slopes), abs=0.02)


def test_area_and_what_spreads_best_by_hand() -> None:
    points: dict[str, Objectives] = {"a": (0.0, 2.0), "b": (1.0, 1.0), "c": (2.0, 0.0)}
    points["d"] = (2.5, 2.5)
    assert hypervolume(points.values(), (3.0, 3.0)) == 6
    assert spread(points, 1, (3.0, 3.0)) == ["b"]
    assert sorted(spread(points, 9, (3.0, 3.0))) == ["a", "b", "c"]


def test_nothing_to_begin_with_is_refused() -> None:
    with pytest.raises(ValueError, match="0 genomes"):
        next(refine([], error, costs, vary, children=1, population=2, seed=0))
    with pytest.raises(ValueError, match="no errors"):
        ridge_predictor({})
