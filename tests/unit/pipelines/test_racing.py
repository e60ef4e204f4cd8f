"""A search whose start is raced for: who wins, what is written down, and that it costs nothing."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from safetensors.torch import load_file

from core.domain.datasets import Dataset
from core.domain.searches import (
    AtMost,
    HeadInit,
    PretrainSpec,
    SearchSpec,
    Selection,
    SpaceSpec,
    StartPolicy,
    Training,
)
from core.domain.supernets import SupernetId
from core.domain.work import PretrainInputs, SearchInputs, SearchOutcome, Source, StartingPoint
from core.errors import InvalidInput
from core.nas.objectives import parameter_costs
from core.nas.selection.limited import cheapest
from core.nas.space import Space
from core.nas.supernet import Supernet
from core.pipelines import (
    bilevel,
    objects,
    pretrain_supernet,
    search_architecture,
    supernet_file,
)
from core.pipelines.context import Stopped
from tests.unit.pipelines.conftest import World, apart

EMBEDDER = "oriented-energy@1"
SPACE = SpaceSpec(channels=2, layers=3, nodes=2, resolution=16)
# At 8 pixels the finest stripes are gone: a cold start can hardly see what is to be told apart.
BLIND = SpaceSpec(channels=2, layers=3, nodes=1, resolution=8, cells="s2")
Register = Callable[..., Dataset]
pytestmark = pytest.mark.usefixtures("without_onnx")


@pytest.fixture
def source(world: World, registered: Register) -> Source:
    dataset = registered("source", classes=5, seed=7)
    spec = PretrainSpec(
        dataset.id, "net", EMBEDDER, SPACE, Training(epochs=4, batch_size=16), learning_rate=0.2
    )
    outcome = pretrain_supernet.run(PretrainInputs(spec, dataset, None), apart(world, "source"))
    assert outcome.embedding is not None
    supernet = StartingPoint(
        id=SupernetId(uuid4()),
        name="net",
        space=outcome.space,
        resolution=outcome.resolution,
        key=outcome.key,
        sha256=outcome.sha256,
    )
    return Source(dataset.id, dataset.name, dataset.classes, outcome.embedding, supernet=supernet)


def inputs_of(dataset: Dataset, *sources: Source, **changes: object) -> SearchInputs:
    spec = SearchSpec(
        dataset_id=dataset.id,
        embedder=EMBEDDER,
        space=BLIND,
        training=Training(epochs=1, batch_size=16, seed=3),
        retrain_epochs=1,
        selection=Selection.MAGNITUDE,
    )
    return SearchInputs(replace(spec, **changes), dataset, None, sources)


def point(inputs: SearchInputs) -> StartingPoint:
    supernet = inputs.sources[0].supernet
    assert supernet is not None
    return supernet


def raced(outcome: SearchOutcome) -> dict[str, dict[str, object]]:
    return {each["name"]: each for each in outcome.start["race"]["contestants"]}


def weights(world: World, outcome: SearchOutcome, tmp_path: Path) -> dict[str, list[float]]:
    item = next(a for a in outcome.artifacts if a.name == "model.safetensors")
    path = objects.fetch(world.store, item.key, tmp_path / "weights", sha256=item.sha256)
    return {name: tensor.flatten().tolist() for name, tensor in load_file(path).items()}


def history(outcome: SearchOutcome) -> list[dict[str, object]]:
    (arm,) = outcome.metrics["arms"]
    untimed = [{k: v for k, v in row.items() if k not in ("seconds", "elapsed")}
               for row in arm["history"]]  # fmt: skip
    return [{"rate": arm["learning_rate"]}, *untimed]


@pytest.mark.parametrize(
    ("head", "begins", "solved"),
    [
        (HeadInit.RANDOM, "random", False),
        (HeadInit.CLOSED_FORM, "closed_form", False),
        (HeadInit.EVERY_EPOCH, "random", True),
    ],
)
def test_the_head_asked_for_reaches_race_and_search(
    head: HeadInit, begins: str, solved: bool
) -> None:
    assert bilevel.initial(head) == begins
    assert bilevel.configure(Training(), 0.1, head=head).solve_head is solved
    assert bilevel.configure(Training(), 0.1).solve_head is False  # a pretraining's


def test_the_winners_search_is_that_of_the_named_supernet(
    world: World, registered: Register, source: Source, tmp_path: Path
) -> None:
    target = registered("target", classes=6)
    inputs = inputs_of(target, source)
    missing = replace(point(inputs), id=SupernetId(uuid4()), name="gone", key="default/nothing")
    shared = replace(inputs, shared=(missing,))
    context = apart(world, "race")
    outcome = search_architecture.run(shared, context)

    start = outcome.start
    assert start["supernet_id"] == str(point(inputs).id)
    assert (start["resolution"], start["learning_rates"]) == (16, [0.1])
    race, contestants = start["race"], raced(outcome)
    assert race["winner"] == "net"
    assert list(contestants) == ["gone", "net", "cold start"]  # shared first: no ranking needed
    assert "points behind net" in contestants["cold start"]["out"]
    assert contestants["gone"]["out"]
    assert contestants["net"]["out"] is None
    assert contestants["net"]["distance"] == outcome.ranking.neighbours[0].distance  # type: ignore[union-attr]
    # What it cost is accounted for.
    seconds = outcome.metrics["seconds"]
    assert race["seconds"] == seconds["race"] > 0
    spent = sum(value for name, value in seconds.items() if name != "export")
    assert race["overhead_fraction"] == pytest.approx(seconds["race"] / spent)
    lines = [record for record in context.records if record.stage == "race"]
    assert [line.values["contestant"] for line in lines] == 2 * list(contestants)
    at_once, standing = lines[:3], lines[3:]  # each when it was measured, and all compared
    assert [each.step for each in at_once] == [each.step for each in standing]
    for early, late in zip(at_once, standing, strict=True):
        same = {name: value for name, value in early.values.items() if name != "out"}
        assert same == {name: late.values[name] for name in same}
    stages = [each.stage for each in context.progress]
    assert stages.index("race") < stages.index("rank")
    fractions = [each.fraction for each in context.progress]
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1.0)
    report = next(a for a in outcome.artifacts if a.name == "report.html")
    page = objects.fetch(world.store, report.key, tmp_path / "report.html").read_text()
    assert "The start was raced for: net won" in page

    named = replace(inputs.spec, policy=StartPolicy.SUPERNET, supernet_id=point(inputs).id)
    same = search_architecture.run(replace(inputs, spec=named), apart(world, "named"))
    assert history(same) == history(outcome)
    assert same.genotype == outcome.genotype
    assert weights(world, same, tmp_path) == weights(world, outcome, tmp_path)
    assert same.start["race"] is None


def test_a_race_that_was_killed_is_run_again_to_the_same_end(
    world: World, registered: Register, source: Source
) -> None:
    inputs = inputs_of(registered("target", classes=6), source)
    killed = apart(world, "killed", stop_after=1)
    with pytest.raises(Stopped):
        search_architecture.run(inputs, killed)
    assert [record.stage for record in killed.records] == ["race"]
    assert not killed.checkpoints
    outcomes = [search_architecture.run(inputs, apart(world, name)) for name in ("a", "b")]
    first, second = (untimed(outcome.start) for outcome in outcomes)
    assert first == second
    row = {k: v for k, v in killed.records[0].values.items() if k != "seconds"}
    rung = raced(outcomes[0])["net"]["rungs"][0]  # type: ignore[index]
    assert row.pop("contestant") == "net"
    assert set(row) == {"epochs", "valid_accuracy", "standard_error", "out"}
    assert row == {name: rung[name] for name in row}


def untimed(start: object) -> object:
    """The record without what a clock said."""
    clocked = ("seconds", "overhead_fraction")

    def drop(pairs: list[tuple[str, object]]) -> dict[str, object]:
        return {name: value for name, value in pairs if name not in clocked}

    return json.loads(json.dumps(start), object_pairs_hook=drop)


def test_a_broken_file_loses_and_cold_wins(
    world: World, registered: Register, source: Source, tmp_path: Path
) -> None:
    inputs = inputs_of(registered("target"), source, space=SPACE)
    junk = tmp_path / "junk"
    junk.write_bytes(b"not weights")
    world.store.put("default/junk", junk)
    kept = replace(point(inputs), key="default/junk")
    readable = replace(kept, id=SupernetId(uuid4()), sha256=objects.checksum(junk))
    broken = replace(inputs, sources=(replace(source, supernet=kept),), shared=(readable,))
    outcome = search_architecture.run(broken, apart(world, "broken"))
    assert outcome.start["supernet_id"] is None
    assert outcome.start["learning_rates"] == [0.1]
    first, second, cold = outcome.start["race"]["contestants"]
    assert "cannot be read" in first["out"]
    assert "does not match its recorded SHA-256" in second["out"]
    assert second["name"] == f"net ({kept.id})"
    assert cold["out"] is None
    assert outcome.start["reason"] == "no source can be started from"


def test_other_policies_start_without_a_race(
    world: World, registered: Register, source: Source
) -> None:
    target = registered("target")
    alone = search_architecture.run(inputs_of(target), apart(world, "alone"))
    assert (alone.start["supernet_id"], alone.start["race"]) == (None, None)
    assert "no supernet" in alone.start["reason"]
    policy = {"policy": StartPolicy.MULTI_DATASET}
    nothing = search_architecture.run(inputs_of(target, **policy), apart(world, "nothing"))
    assert nothing.start["reason"] == "no supernet of several datasets is registered yet"
    newest = point(inputs_of(target, source))
    shared = replace(inputs_of(target, **policy), shared=(newest,))
    outcome = search_architecture.run(shared, apart(world, "shared"))
    assert outcome.ranking is None
    assert (outcome.start["supernet_id"], outcome.start["dataset_name"]) == (str(newest.id), None)


def test_sources_are_adapted_to_a_space_of_the_searchs_own(
    world: World, registered: Register, source: Source
) -> None:
    wider = replace(SPACE, channels=4)
    inputs = inputs_of(registered("target", classes=6), source, space=wider, adapt=True)
    other = Supernet(Space(channels=2, layers=3, nodes=2, cells="s2"), 1, bilevel.generator(0))
    key, sha256 = supernet_file.keep(apart(world, "other"), other.state_dict())
    cells = StartingPoint(SupernetId(uuid4()), "cells", other.space.to_dict(), 16, key, sha256)
    outcome = search_architecture.run(replace(inputs, shared=(cells,)), apart(world, "race"))
    contestants = raced(outcome)
    assert contestants["cells"]["out"] == (
        "The supernet 'cells' cannot be adapted to the space asked for: space.cells: 'darts' is "
        "not the source's 's2'; only channels, layers, input_channels and stem_stride can be "
        "adapted."
    )
    for name in ("net", "cold start"):  # whoever won, both ran in the space asked for
        rung = contestants[name]["rungs"][0]  # type: ignore[index]
        assert 0 < rung["valid_accuracy"] <= 1
    assert outcome.start["space"]["channels"] == 4


def test_a_source_whose_cells_all_cost_more_than_they_may_is_out(
    world: World, registered: Register, source: Source
) -> None:
    """The cold start's space has smaller ones; a search from that source alone fails."""
    smaller = replace(BLIND, cells="darts")
    inputs = inputs_of(registered("target", classes=6), source, space=smaller)
    least = smallest(Space.from_dict(point(inputs).space), 6)
    bounded = replace(inputs.spec, at_most=AtMost(parameters=least - 1))
    outcome = search_architecture.run(replace(inputs, spec=bounded), apart(world, "race"))
    assert outcome.start["supernet_id"] is None
    assert outcome.metrics["parameters"] < least
    reason = raced(outcome)["net"]["out"]
    said = f"No cells keep to at_most.parameters = {least - 1:,}: the smallest network of "
    assert str(reason).startswith(said + "the supernet 'net'")

    named = replace(bounded, policy=StartPolicy.SUPERNET, supernet_id=point(inputs).id)
    with pytest.raises(InvalidInput, match="the supernet 'net'"):
        search_architecture.run(replace(inputs, spec=named), apart(world, "named"))


def smallest(space: Space, classes: int) -> int:
    costs = parameter_costs(space, classes)
    return int(costs.cost(cheapest(costs, max_skips=2)))
