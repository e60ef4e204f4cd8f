"""How cells are chosen is what was asked for, and takes what it was said to take."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from uuid import uuid4

import pytest
import torch

from core.domain import effort
from core.domain.datasets import DatasetId
from core.domain.searches import AtMost, Objective, SearchSpec, Selection, TradeOffs, Training
from core.errors import InvalidInput
from core.nas import methods
from core.nas.derive import derive
from core.nas.images import LabelledImages
from core.nas.network import Network, flops, parameter_count
from core.nas.objectives import parameter_costs
from core.nas.pareto import non_dominated
from core.nas.selection import best_of, prescreens
from core.nas.space import Space
from core.nas.supernet import Supernet
from core.pipelines import choosing
from core.pipelines.meter import Meter
from tests.unit.pipelines.conftest import World

SPACE = Space(channels=2, layers=3, nodes=2, input_channels=1)
SPEC = SearchSpec(DatasetId(uuid4()), "default", training=Training(seed=3))


@pytest.fixture
def images() -> LabelledImages:
    drawn = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (160, 1, 8, 8), generator=drawn, dtype=torch.uint8)
    return LabelledImages.measured(pixels, torch.arange(160) % 4, 4)


def supernet(space: Space = SPACE) -> Supernet:
    return Supernet(space, 4, torch.Generator().manual_seed(1))


@pytest.mark.parametrize("selection", effort.PRESCREEN)
def test_the_best_of_the_screened_is_chosen(
    selection: Selection, images: LabelledImages, world: World
) -> None:
    searched, spec = supernet(), replace(SPEC, selection=selection)
    meter = Meter(world, total=effort.choice(spec))
    method = methods.create("darts", searched)
    found = choosing.choose(searched, method, images, spec, world, meter=meter)
    proposed = best_of.proposals(
        searched, samples=effort.SCREENED, max_skips=2, seed=3, preference=method.preference
    )
    allowed = [each for each in proposed if each.genotype.skip_count <= 2]
    assert len(allowed) > 10
    scores = {
        proposal.genotype: score
        for proposal, score in prescreens.screened(
            searched,
            allowed,
            images.halves(3)[0],
            prescreens.PRESCREENS[selection.value],
            seed=3,
        )
    }
    assert found.genotype == max(scores, key=scores.__getitem__)
    assert found.by == selection.value
    (told,) = found.candidates
    assert told["parameters"] > 0
    assert meter.done == pytest.approx(meter.total)
    assert {each.stage for each in world.progress} == {choosing.STAGE}
    assert len(world.progress) > len(allowed)


def test_what_cannot_inherit_is_chosen_by_its_alphas(images: LabelledImages, world: World) -> None:
    partly = supernet(replace(SPACE, channels=4, partial=2))
    spec = replace(SPEC, selection=Selection.JACOBIAN)
    meter = Meter(world, total=effort.choice(spec))
    method = methods.create("darts", partly)
    found = choosing.choose(partly, method, images, spec, world, meter=meter)
    assert found.by == Selection.MAGNITUDE.value
    assert meter.done == pytest.approx(meter.total)


@pytest.mark.parametrize("objective", ["parameters", "flops"])
def test_a_limit_is_kept_by_the_strongest_cells(
    objective: str, images: LabelledImages, world: World
) -> None:
    searched = supernet()
    with torch.no_grad():  # the alphas want the dearest operation everywhere
        dearest = SPACE.operations.index("sep_conv_5x5")
        for alphas in searched.alphas().values():
            alphas[:, dearest] = 1.0
    method = methods.create("darts", searched)

    def costs(spec: SearchSpec) -> float:
        meter = Meter(world, total=effort.choice(spec))
        choosing.require(spec, SPACE, images, world)
        found = choosing.choose(searched, method, images, spec, world, meter=meter)
        network = Network(SPACE, found.genotype, 4, torch.Generator())
        assert found.genotype.skip_count <= spec.training.max_skips
        return parameter_count(network) if objective == "parameters" else flops(network, 8)

    def limited(most: float) -> SearchSpec:
        return replace(SPEC, at_most=AtMost(**{objective: int(most)}))

    free = costs(SPEC)
    assert costs(limited(free)) == free
    assert 0.5 * free < costs(limited(0.7 * free)) <= 0.7 * free
    with pytest.raises(
        InvalidInput, match="the smallest network of the space asked for"
    ) as caught:
        costs(limited(1))
    assert [each.place for each in caught.value.details] == [f"at_most.{objective}"]


def test_a_limit_keeps_few_skips_and_what_the_method_has_not_dropped(
    images: LabelledImages, world: World
) -> None:
    """Though skip connections are cheap and liked best, and then an operation that was dropped."""
    searched = supernet()
    liked = {"skip_connect": 3.0, "sep_conv_3x3": 2.0, "sep_conv_5x5": 1.0}
    with torch.no_grad():
        for alphas in searched.alphas().values():
            for name, worth in liked.items():
                alphas[:, SPACE.operations.index(name)] = worth
    method = methods.create("op-dropping", searched)
    for name, live in method.tensors().items():
        assert name.startswith("live.")
        live[:, SPACE.operations.index("sep_conv_3x3")] = False
    costs = parameter_costs(SPACE, 4)
    free = costs.cost(derive(searched, method.preference, max_skips=2))
    spec = replace(SPEC, at_most=AtMost(parameters=int(0.8 * free)))
    meter = Meter(world, total=effort.choice(spec))
    found = choosing.choose(searched, method, images, spec, world, meter=meter).genotype
    kept = [edge.operation for cell in (found.normal, found.reduction) for n in cell for edge in n]
    assert found.skip_count == 2
    assert "sep_conv_3x3" not in kept
    assert costs.cost(found) <= 0.8 * free


def test_a_refined_front_is_one_and_leaves_the_supernet_alone(
    images: LabelledImages, world: World
) -> None:
    searched, traded = supernet(), (Objective.PARAMETERS, Objective.FLOPS)
    spec = replace(SPEC, objectives=traded, trade_offs=TradeOffs.REFINED)
    before = deepcopy(searched.state_dict())
    meter = Meter(world, total=effort.choice(spec))
    method = methods.create("darts", searched)
    found = choosing.choose(searched, method, images, spec, world, meter=meter)
    after = searched.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert found.genotype == derive(searched, method.preference, max_skips=2)  # as without it
    assert found.front_by == "refined"
    points = [(1 - e["accuracy"], e["parameters"], e["flops"]) for e in found.front]
    assert len(points) > 1
    assert non_dominated(points) == list(range(len(points)))
    assert points == sorted(points)
    origins = [each["origin"] for each in found.candidates]
    assert origins.count("magnitude") == 1
    # Those it began with (some draws may be alike) and three rounds of six.
    assert 18 < len(origins) <= effort.POPULATION + effort.ROUNDS * effort.PROPOSED
    listed = [each["genotype"] for each in found.candidates]
    assert all(each["genotype"] in listed for each in found.front)
    assert meter.done == pytest.approx(meter.total)
    assert choosing.choose(searched, method, images, spec, world, meter=meter) == found


def test_a_refined_front_of_cells_that_inherit_nothing_is_the_plain_one(
    images: LabelledImages, world: World
) -> None:
    partly = supernet(replace(SPACE, channels=4, partial=2))
    refined = replace(SPEC, objectives=(Objective.FLOPS,), trade_offs=TradeOffs.REFINED)
    method = methods.create("darts", partly)
    found = [
        choosing.choose(partly, method, images, spec, world, meter=Meter(world, total=10.0))
        for spec in (refined, replace(refined, trade_offs=TradeOffs.NSGA2))
    ]
    assert found[0] == found[1]
    assert found[0].front_by == "nsga2"  # and says so


def test_every_prescreen_can_be_asked_for() -> None:
    assert {each.value for each in effort.PRESCREEN} == set(prescreens.PRESCREENS)
