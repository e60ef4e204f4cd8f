"""What may be asked for: every bad field is named, each with a way to mend it."""

from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from core.domain.datasets import DatasetId, Hubness
from core.domain.prunings import Architecture, PruneSpec, PruningId
from core.domain.searches import (
    AtMost,
    EmbedSpec,
    HeadInit,
    Method,
    Objective,
    PretrainSpec,
    RankSpec,
    Retraining,
    SearchSpec,
    Selection,
    SpaceSpec,
    StartPolicy,
    TradeOffs,
    Training,
)
from core.domain.supernets import SupernetId
from core.errors import InvalidInput
from core.nas import augmentation, precision
from core.nas.methods import METHODS
from core.services import specs

HERE = DatasetId(uuid4())
NAN, INF = float("nan"), float("inf")
SEARCH = SearchSpec(HERE, "default-1")
PRETRAIN = PretrainSpec(HERE, "mnist", "default-1")
SUPERNET = SupernetId(uuid4())
PRUNE = PruneSpec(HERE, Architecture.RESNET18)
CELL = [[["sep_conv_3x3", 0], ["skip_connect", 1]]] * 2
GIVEN: dict[str, Any] = {
    "policy": StartPolicy.COLD,
    "space": SpaceSpec(nodes=2),
    "genotype": {"normal": CELL, "reduction": CELL},
}


def places(spec: specs.Spec) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        specs.check(spec)
    for detail in caught.value.details:
        assert detail.message.split()[0] in {"Give", "Name", "Leave"}
    return [detail.place for detail in caught.value.details]


@pytest.mark.parametrize(
    "spec",
    [
        EmbedSpec(HERE, "default-1"),
        RankSpec(HERE, "resnet18@1"),
        RankSpec(HERE, "resnet18@1", k=100, supernets_only=True, hubness=Hubness.LOCAL_SCALING),
        PRETRAIN,
        SEARCH,
        replace(SEARCH, policy=StartPolicy.COLD, learning_rates=(0.1, 0.01)),
        replace(SEARCH, policy=StartPolicy.MULTI_DATASET, learning_rates=None),
        replace(SEARCH, policy=StartPolicy.SUPERNET, supernet_id=SUPERNET),
        replace(SEARCH, training=Training(weight_decay=0)),
        replace(SEARCH, at_most=AtMost(flops=10**12)),
        PRUNE,
        replace(PRUNE, gamma=0.01),
        replace(PRUNE, share=0.99, source_id=HERE, labels={"team": "a"}),
        replace(SEARCH, **GIVEN),
    ],
)
def test_sensible_requests_pass(spec: specs.Spec) -> None:
    specs.check(spec)


def test_rates_left_out_suit_the_start() -> None:
    assert SEARCH.learning_rates is None
    assert SEARCH.rates(warm=True) == SEARCH.rates(warm=False) == (0.1,)
    once = replace(SEARCH, head=HeadInit.CLOSED_FORM)
    assert (once.rates(warm=True), once.rates(warm=False)) == ((0.025,), (0.1,))
    given = replace(SEARCH, learning_rates=(0.3, 0.2))
    assert given.rates(warm=True) == given.rates(warm=False) == (0.3, 0.2)


@pytest.mark.parametrize("k", [0, -1, 101, 1.5, True])
def test_how_many_neighbours_may_be_wanted(k: Any) -> None:
    assert places(RankSpec(HERE, "resnet18@1", k=k)) == ["k"]


@pytest.mark.parametrize("embedder", ["", "../x", "a/b", "a b", "a\n", ".hidden", "e" * 65])
def test_an_embedders_name_is_safe_in_a_key(embedder: str) -> None:
    assert places(EmbedSpec(HERE, embedder)) == ["embedder"]


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"learning_rates": (NAN,)}, "learning_rates[0]"),
        ({"learning_rates": (0.1, INF)}, "learning_rates[1]"),
        ({"learning_rates": (0.0,)}, "learning_rates[0]"),
        ({"learning_rates": ()}, "learning_rates"),
        ({"learning_rates": (0.1, 0.1)}, "learning_rates"),
        ({"retrain_epochs": 0}, "retrain_epochs"),
        ({"retrain_epochs": True}, "retrain_epochs"),
        ({"retrain_epochs": 1.5}, "retrain_epochs"),
        ({"retrain_learning_rate": -INF}, "retrain_learning_rate"),
        ({"retrain_learning_rate": "0.1"}, "retrain_learning_rate"),
        ({"policy": StartPolicy.SUPERNET}, "supernet_id"),
        ({"supernet_id": SUPERNET}, "supernet_id"),
        ({"policy": StartPolicy.COLD, "supernet_id": SUPERNET}, "supernet_id"),
        ({"training": Training(epochs=0)}, "training.epochs"),
        ({"training": Training(batch_size=1)}, "training.batch_size"),
        ({"training": Training(seed=-1)}, "training.seed"),
        ({"training": Training(seed=2**32)}, "training.seed"),
        ({"training": Training(weight_decay=NAN)}, "training.weight_decay"),
        ({"training": Training(alpha_learning_rate=0)}, "training.alpha_learning_rate"),
        ({"space": SpaceSpec(channels=0)}, "space.channels"),
        ({"space": SpaceSpec(layers=10**9)}, "space.layers"),
        ({"space": SpaceSpec(nodes=0)}, "space.nodes"),
        ({"space": SpaceSpec(resolution=4)}, "space.resolution"),
        ({"space": SpaceSpec(cells="s9")}, "space.cells"),
        (
            {"space": SpaceSpec(channels=12), "training": Training(method=Method.PC_DARTS)},
            "space.channels",
        ),
        ({"training": Training(max_skips=-1)}, "training.max_skips"),
        ({"training": Training(paths=65)}, "training.paths"),
        ({"training": Training(paths=1, method=Method.PC_DARTS)}, "training.paths"),
        ({"training": Training(generalisation_gap=-0.1)}, "training.generalisation_gap"),
        (
            {"training": Training(generalisation_gap=1, method=Method.DARTS_SECOND_ORDER)},
            "training.generalisation_gap",
        ),
        ({"training": Training(precision="fp16")}, "training.precision"),
        ({"retraining": Retraining(augment="blur")}, "retraining.augment"),
        ({"retraining": Retraining(precision="fp8")}, "retraining.precision"),
        ({"retraining": Retraining(ema=1.0)}, "retraining.ema"),
        ({"retraining": Retraining(drop_path=NAN)}, "retraining.drop_path"),
        ({"retraining": Retraining(budget_seconds=0)}, "retraining.budget_seconds"),
        ({"objectives": (Objective.FLOPS, Objective.FLOPS)}, "objectives"),
        (GIVEN | {"policy": StartPolicy.RACE}, "policy"),
        (GIVEN | {"space": SpaceSpec()}, "genotype"),
        (GIVEN | {"space": SpaceSpec(nodes=2, cells="s3")}, "genotype"),
        (GIVEN | {"genotype": {"normal": [["skip_connect", 0]], "reduction": 7}}, "genotype"),
        (GIVEN | {"genotype": {}}, "genotype"),
        (GIVEN | {"learning_rates": (0.1,)}, "learning_rates"),
        (GIVEN | {"patience": 3}, "patience"),
        (GIVEN | {"selection": Selection.BEST_OF}, "selection"),
        (GIVEN | {"objectives": (Objective.FLOPS,)}, "objectives"),
        (GIVEN | {"contribute": True}, "contribute"),
        ({"trade_offs": TradeOffs.REFINED}, "trade_offs"),
        ({"at_most": AtMost(parameters=0)}, "at_most.parameters"),
        ({"at_most": AtMost(flops=True)}, "at_most.flops"),
        ({"at_most": AtMost(parameters=9, flops=9)}, "at_most"),
        ({"at_most": AtMost(flops=9), "selection": Selection.BEST_OF}, "selection"),
        (GIVEN | {"at_most": AtMost(parameters=9)}, "at_most"),
        (GIVEN | {"retraining": Retraining(distillation=0.5)}, "retraining.distillation"),
    ],
)
def test_a_bad_setting_is_named(change: dict[str, Any], place: str) -> None:
    assert places(replace(SEARCH, **change)) == [place]


@pytest.mark.parametrize("name", ["", " ", "n" * 201, "a\x00"])
def test_a_supernets_name_is_for_people(name: str) -> None:
    assert places(replace(PRETRAIN, name=name)) == ["name"]


OTHERS = tuple(DatasetId(uuid4()) for _ in range(3))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"others": OTHERS}, []),
        ({"others": (*OTHERS, HERE)}, ["others"]),
        ({"others": OTHERS * 2}, ["others"]),
        ({"others": tuple(DatasetId(uuid4()) for _ in range(1000))}, ["others"]),
        ({"others": OTHERS, "steps": 0}, ["steps"]),
        ({"others": OTHERS, "training": Training(method=Method.DRNAS)}, ["training.method"]),
        (
            {"others": OTHERS, "training": Training(generalisation_gap=0.5)},
            ["training.generalisation_gap"],
        ),
    ],
)
def test_what_may_be_asked_of_several_datasets(change: dict[str, Any], found: list[str]) -> None:
    spec = replace(PRETRAIN, **change)
    if found:
        assert places(spec) == found
    else:
        specs.check(spec)


def test_everything_wrong_is_told_at_once() -> None:
    bad = PretrainSpec(HERE, "", "", SpaceSpec(channels=-1), Training(epochs=-1), NAN)
    found = places(bad)
    assert found == ["embedder", "name", "space.channels", "training.epochs", "learning_rate"]


def test_names_are_those_that_the_algorithms_have() -> None:
    assert {each.value for each in Method} == set(METHODS)
    assert specs.AUGMENTATIONS == augmentation.AUGMENTATIONS
    assert specs.PRECISIONS == precision.PRECISIONS


@pytest.mark.parametrize(
    ("change", "waits"),
    [
        ({}, 2),
        ({"training": Training(epochs=4)}, 1),
        ({"training": Training(epochs=50)}, 5),
        ({"head": HeadInit.CLOSED_FORM}, 0),  # it falls back after its start
        ({"head": HeadInit.RANDOM}, 0),  # it looks like chance at first
        ({"head": HeadInit.RANDOM, "patience": 3}, 3),
        ({"patience": 0}, 0),
    ],
)
def test_how_long_a_search_waits_for_progress(change: dict[str, Any], waits: int) -> None:
    assert replace(SEARCH, **change).waits == waits


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"share": 0.0}, "share"),
        ({"share": 1.0}, "share"),
        ({"share": NAN}, "share"),
        ({"gamma": 0.0}, "gamma"),
        ({"gamma": 0.5, "share": 0.5}, "gamma"),
        ({"gamma": 0.5, "mask_from": PruningId(SUPERNET)}, "gamma"),
        ({"resolution": 31}, "resolution"),
        ({"epochs": 0}, "epochs"),
        ({"retrain_epochs": True}, "retrain_epochs"),
        ({"batch_size": 1}, "batch_size"),
        ({"learning_rate": INF}, "learning_rate"),
        ({"inherit": True}, "inherit"),
        ({"mask_from": PruningId(SUPERNET), "source_id": HERE}, "source_id"),
        ({"labels": {"": "x"}}, "labels"),
    ],
)
def test_what_cannot_be_pruned_is_told(changes: dict[str, Any], place: str) -> None:
    assert [each.split("[")[0].split(".")[0] for each in places(replace(PRUNE, **changes))] == [
        place
    ]
