"""A ranking as it is written down: evidence, verdict, hubs and map, with and without samples."""

import base64
import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import pytest
import torch
from safetensors.torch import save_file

from core.domain import keys
from core.domain.datasets import (
    Dataset,
    DatasetId,
    DatasetReport,
    Embedding,
    Hubness,
    Measure,
    Nearness,
    Ranking,
)
from core.domain.identity import DEFAULT
from core.domain.searches import RankSpec, SearchSpec
from core.domain.work import RankInputs, SearchInputs, Source
from core.errors import DeletedMeanwhile
from core.ot import centres, neighbourhoods
from core.ot.dataset_distance import OTDDConfig, class_distance, otdd
from core.ot.embedded_dataset import EmbeddedDataset, build
from core.pipelines import compare_datasets, embed_dataset, objects
from tests.unit.ot.registries import shifted
from tests.unit.pipelines.conftest import World

EMBEDDER = "test@1"
REPORT = DatasetReport((), 0, 0, 0, "given", None, {}, {})


def cloud(
    place: Sequence[float], *, seed: int, spread: float = 0.3, per_class: int = 8
) -> EmbeddedDataset:
    """Two classes round a place."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(2).repeat_interleave(per_class)
    noise = spread * torch.randn(len(labels), len(place), generator=generator)
    return build(noise + labels[:, None] + torch.tensor(place), labels, ["left", "right"])


class Registry:
    """Stores embedded datasets as a worker finds them, and ranks."""

    def __init__(self, world: World) -> None:
        self.world = world

    def put(self, name: str, embedded: EmbeddedDataset) -> tuple[Dataset, Embedding]:
        path = self.world.kept / f"{name}.safetensors"
        save_file(replace(embedded, embedder=EMBEDDER).to_tensors(), path)
        sha256, content = objects.checksum(path), hashlib.sha256(name.encode()).hexdigest()
        key = keys.embedding(DEFAULT, content, EMBEDDER, sha256)
        self.world.store.put(key, path)
        dataset = Dataset(
            project_id=DEFAULT,
            id=DatasetId(uuid4()),
            sha256=content,
            name=name,
            classes=(*embedded.classes, "without images"),
            train_counts=(*embedded.moments.counts.tolist(), 0),
            test_counts=(0,) * (len(embedded.classes) + 1),
            channels=1,
            report=REPORT,
            created_at=datetime.now(UTC),
        )
        size, n = embedded.dimension, len(embedded.labels)
        return dataset, Embedding(dataset.id, EMBEDDER, key, sha256, size, n, 0.0)

    def source(self, name: str, embedded: EmbeddedDataset) -> Source:
        dataset, embedding = self.put(name, embedded)
        return Source(dataset.id, name, dataset.classes, embedding)

    def sources(self, embedded: dict[str, EmbeddedDataset]) -> tuple[Source, ...]:
        return tuple(self.source(name, each) for name, each in embedded.items())

    def rank(
        self,
        target: EmbeddedDataset,
        sources: tuple[Source, ...],
        *,
        k: int = 10,
        hubness: Hubness = Hubness.NONE,
        **given: float,
    ) -> Ranking:
        dataset, embedding = self.put("target", target)
        spec = RankSpec(dataset.id, EMBEDDER, k=k, hubness=hubness)
        inputs = RankInputs(spec, dataset, embedding, sources, **given)  # type: ignore[arg-type]
        outcome = compare_datasets.run(inputs, self.world)
        assert outcome.embedding is None
        return outcome.ranking


@pytest.fixture
def registry(world: World) -> Registry:
    return Registry(world)


@pytest.fixture
def few_references(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are many sources and the verdict does not matter."""
    monkeypatch.setattr(neighbourhoods, "REFERENCES", 4)


def names(ranking: Ranking) -> list[str]:
    return [each.dataset_name for each in ranking.neighbours]


def test_the_nearest_come_first_with_their_evidence(registry: Registry) -> None:
    embedded = {f"{at}": shifted(at, seed=at + 1) for at in (3, 0, 2, 1)}
    sources = registry.sources(embedded)
    ranking = registry.rank(shifted(0.1), sources)
    assert names(ranking) == ["0", "1", "2", "3"]
    assert (ranking.proven, ranking.sources) == (4, 4)
    for each in ranking.neighbours:
        measured = otdd(shifted(0.1), embedded[each.dataset_name])
        assert each.distance == measured.distance
        assert each.interval == measured.interval
        assert each.features_part + each.labels_part == pytest.approx(each.distance**2)
        assert each.measure is Measure.SAMPLES
        assert each.samples == (120, 120)
        assert each.scaled is None
        assert sum(mass for *_, mass in each.coupling) == pytest.approx(1.0)
        assert {one for one, *_ in each.coupling} == {"class 0", "class 1"}
        assert each.pairs
        for pair in each.pairs:
            # Rows of the first class were given first.
            assert pair.target_class == f"class {pair.target_image // 60}"
            assert pair.source_class == f"class {pair.source_image // 60}"


def test_without_sources_there_is_nothing_to_say(registry: Registry) -> None:
    ranking = registry.rank(shifted(0), ())
    assert (ranking.neighbours, ranking.verdict, ranking.map) == ((), None, None)


def test_one_source_is_ranked_and_not_judged(registry: Registry) -> None:
    ranking = registry.rank(shifted(0), registry.sources({"only": shifted(1, seed=1)}))
    assert names(ranking) == ["only"]
    assert ranking.neighbours[0].hub_share is None
    assert ranking.verdict is not None
    assert (ranking.verdict.nearness, ranking.verdict.references) == (Nearness.UNKNOWN, 0)
    assert ranking.map is not None
    first, second = ranking.map.points
    apart = math.dist((first.x, first.y), (second.x, second.y))
    assert apart == pytest.approx(ranking.verdict.nearest, rel=0.01)
    assert ranking.map.stress == pytest.approx(0.0, abs=1e-6)


@pytest.mark.usefixtures("few_references")
def test_as_many_as_were_asked_for_are_written_down(registry: Registry) -> None:
    sources = registry.sources(
        {f"{at}": cloud((at / 4,), seed=at, per_class=3) for at in range(70)}
    )
    ranking = registry.rank(cloud((0.0,), seed=99, per_class=3), sources, k=66)
    assert len(ranking.neighbours) >= 66
    for each in ranking.neighbours[:66]:
        assert each.measure is Measure.SAMPLES
        assert each.hub_share is not None
        assert each.pairs
    fewer = registry.rank(cloud((0.0,), seed=99, per_class=3), sources, k=3)
    assert len(fewer.neighbours) == 50
    assert names(fewer)[:3] == names(ranking)[:3]
    assert all(each.pairs == () for each in fewer.neighbours[3:])


def test_a_search_measures_the_first_three_and_leaves_the_proof_to_the_rank_job(
    registry: Registry,
) -> None:
    sources = registry.sources({f"{at}": shifted(at / 50, seed=at + 1) for at in range(9)})
    proved = registry.rank(shifted(0.05), sources, k=3)
    dataset, embedding = registry.put("target", shifted(0.05))
    inputs = SearchInputs(SearchSpec(dataset.id, EMBEDDER), dataset, embedding, sources)
    target, _ = embed_dataset.ensure(dataset, embedding, EMBEDDER, registry.world)
    found = compare_datasets.rank(inputs, target, registry.world)

    def measured(ranking: Ranking) -> list[str]:
        return [n.dataset_name for n in ranking.neighbours if n.measure is Measure.SAMPLES]

    assert len(measured(found)) == 3 < len(measured(proved))
    assert names(found)[:3] == measured(found)
    assert (found.settings["k"], found.settings["budget"]) == (3, 0)
    assert proved.settings["budget"] > 0
    assert proved.proven > found.proven


def test_two_datasets_of_one_content_are_two_sources(registry: Registry) -> None:
    twin = shifted(1, seed=1)
    ranking = registry.rank(shifted(0), registry.sources({"one": twin, "two": twin}))
    assert sorted(names(ranking)) == ["one", "two"]
    assert ranking.neighbours[0].distance == ranking.neighbours[1].distance


def test_what_was_left_out_limits_what_is_proved(registry: Registry) -> None:
    sources = registry.sources({f"{at}": shifted(at, seed=at + 1) for at in range(3)})
    near, middle, _ = registry.rank(shifted(0.1), sources).neighbours
    assert registry.rank(shifted(0.1), sources, beyond=1e-6, considered=9).proven == 0
    between = (near.distance + middle.distance) / 2
    ranking = registry.rank(shifted(0.1), sources, beyond=between, considered=9)
    assert (ranking.proven, ranking.sources) == (1, 9)


def centred(source: Source, embedded: EmbeddedDataset) -> Source:
    packed = embedded.centre.numpy().astype("<f4").tobytes()
    return replace(source, centre=base64.b64encode(packed).decode())


def test_a_target_just_embedded_meets_only_the_nearest_of_very_many(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(centres, "LIMIT", 3)
    target = replace(shifted(0.1), embedder=EMBEDDER)
    embedded = {f"{at}": shifted(at, seed=at + 1) for at in (6, 1, 4, 0, 5, 2)}
    sources = registry.sources(embedded)
    every = tuple(centred(each, embedded[each.dataset_name]) for each in sources)
    dataset, embedding = registry.put("target", target)
    blind = RankInputs(RankSpec(dataset.id, EMBEDDER), dataset, None, every, considered=6)
    nearest = sorted(sources, key=lambda each: int(each.dataset_name))[:3]
    beyond = math.dist(target.centre.tolist(), embedded["4"].centre.tolist()) * (1 - 1e-5)
    seen = replace(blind, embedding=embedding, sources=tuple(nearest), beyond=beyond)

    found, known = (
        replace(compare_datasets.rank(inputs, target, registry.world), seconds=0.0)
        for inputs in (blind, seen)
    )
    assert found == known
    assert (sorted(names(found)), found.sources) == (["0", "1", "2"], 6)
    fetched = registry.world.scratch.glob("embedding-*")
    assert len(list(fetched)) == 3


def test_progress_rises_to_the_end_of_its_span(registry: Registry) -> None:
    sources = registry.sources({f"{at}": shifted(0.5, seed=at) for at in range(1, 8)})
    registry.rank(shifted(0), sources, k=2)
    fractions = [each.fraction for each in registry.world.progress]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0.1
    assert fractions[-1] <= 1.0
    assert all(
        each.eta_seconds is None or each.eta_seconds >= 0 for each in registry.world.progress
    )


def test_what_is_nearer_than_the_registry_s_own_is_near_and_what_is_not_is_far(
    registry: Registry,
) -> None:
    sources = registry.sources({f"{at}": cloud((at, 0.0), seed=at) for at in range(24)})
    near = registry.rank(cloud((7.3, 0.0), seed=99), sources, k=2).verdict
    far = registry.rank(cloud((7.3, 9.0), seed=99), sources, k=2).verdict
    assert near is not None
    assert far is not None
    assert (near.nearness, far.nearness) == (Nearness.NEAR, Nearness.FAR)
    assert near.threshold == far.threshold == pytest.approx(1.0, rel=0.3)
    assert (near.references, far.share) == (24, 0.0)


@pytest.mark.usefixtures("few_references")
def test_the_verdict_is_on_the_nearest_of_very_many(registry: Registry) -> None:
    # Wide classes: the mean of a few of their samples may lie anywhere.
    target = cloud((0.0,) * 6, seed=0, spread=4.0, per_class=250)
    twin = cloud((0.0,) * 6, seed=1, spread=4.0, per_class=250)
    few = target.features[[0, 250]].mean(0).tolist()
    decoys = {f"{at}": cloud(few, seed=2 + at, spread=0.5 + at / 99) for at in range(40)}
    sources = registry.sources({**decoys, "twin": twin})
    ranking = registry.rank(target, sources, k=1)
    assert names(ranking)[0] == "twin"
    assert ranking.verdict is not None
    exact = class_distance(target, twin, OTDDConfig(lambda_x=0.0)).distance
    assert ranking.verdict.nearest == pytest.approx(exact, rel=0.02)


@pytest.fixture
def hub(registry: Registry) -> tuple[EmbeddedDataset, tuple[Source, ...]]:
    """A hub amid spokes, and a target between it and a spoke, a little nearer to the hub."""
    corners = {
        f"spoke {at}": cloud([4.0 * (at == axis) for axis in range(8)], seed=at) for at in range(8)
    }
    target = cloud((0.31, 2.23, *(0.31,) * 6), seed=99)
    return target, registry.sources({**corners, "hub": cloud((0.6,) * 8, seed=50)})


def test_a_hub_is_marked_and_put_behind_on_demand(
    registry: Registry, hub: tuple[EmbeddedDataset, tuple[Source, ...]]
) -> None:
    target, sources = hub
    plain = registry.rank(target, sources, k=3)
    assert names(plain)[:2] == ["hub", "spoke 1"]
    assert plain.neighbours[0].hub_share == 1.0
    assert plain.neighbours[1].hub_share is not None
    assert plain.neighbours[1].hub_share < 0.2
    assert [each.hub_share for each in plain.neighbours[3:]] == [None] * 6
    assert all(each.scaled is None for each in plain.neighbours)
    assert plain.proven >= 2
    corrected = registry.rank(target, sources, k=3, hubness=Hubness.LOCAL_SCALING)
    assert names(corrected)[:2] == ["spoke 1", "hub"]
    assert names(corrected)[3:] == names(plain)[3:]
    scaled = [each.scaled for each in corrected.neighbours]
    assert scaled[3:] == [None] * 6
    assert scaled[:3] == sorted(scaled[:3], key=lambda value: value or 0.0)
    assert corrected.proven == 0
    assert {each.dataset_name: each.distance for each in corrected.neighbours} == {
        each.dataset_name: each.distance for each in plain.neighbours
    }


def test_that_the_target_is_a_source_of_others_corrects_nothing(
    registry: Registry, hub: tuple[EmbeddedDataset, tuple[Source, ...]]
) -> None:
    target, sources = hub
    before = registry.rank(target, sources, k=3, hubness=Hubness.LOCAL_SCALING)
    registry.rank(shifted(0, dimension=8), (*sources, registry.source("itself", target)), k=1)
    after = registry.rank(target, sources, k=3, hubness=Hubness.LOCAL_SCALING)
    assert names(after) == names(before)
    assert [each.scaled for each in after.neighbours] == [
        each.scaled for each in before.neighbours
    ]
    assert after.verdict is not None
    assert before.verdict is not None
    assert after.verdict.nearest == before.verdict.nearest


def test_twins_at_no_distance_are_corrected_to_none(registry: Registry) -> None:
    points = {f"{at}": build(torch.zeros(2, 3), torch.tensor([0, 1]), "ab") for at in range(3)}
    far = build(torch.ones(2, 3), torch.tensor([0, 1]), "ab")
    sources = registry.sources(points)
    same = registry.rank(points["0"], sources, hubness=Hubness.LOCAL_SCALING)
    assert [each.scaled for each in same.neighbours] == [0.0] * 3
    apart = registry.rank(far, sources, hubness=Hubness.LOCAL_SCALING)
    assert [each.scaled for each in apart.neighbours] == [None] * 3  # infinitely far for them
    assert len(apart.neighbours) == 3


def test_sources_of_statistics_alone_keep_their_place(registry: Registry) -> None:
    embedded = {f"{at}": shifted(at / 2, seed=at + 1) for at in range(5)}
    embedded["2"] = embedded["2"].without_samples()
    ranking = registry.rank(shifted(0.1), registry.sources(embedded))
    assert names(ranking) == ["0", "1", "2", "3", "4"]
    alone = ranking.neighbours[2]
    assert (alone.measure, alone.samples, alone.pairs) == (Measure.CLASSES, (0, 0), ())
    assert sum(mass for *_, mass in alone.coupling) == pytest.approx(1.0)
    assert alone.interval[0] < alone.distance < alone.interval[1]
    assert ranking.proven < 5
    assert ranking.map is not None
    assert len(ranking.map.points) == 6


def test_a_target_of_statistics_alone_is_ranked_judged_and_laid_out(registry: Registry) -> None:
    embedded = {f"{at}": cloud((at, 0.0), seed=at) for at in range(22)}
    target = cloud((3.2, 0.0), seed=99).without_samples()
    ranking = registry.rank(target, registry.sources(embedded), k=4, hubness=Hubness.LOCAL_SCALING)
    assert set(names(ranking)[:4]) == {"2", "3", "4", "5"}
    for each in ranking.neighbours[:4]:
        exact = class_distance(target, embedded[each.dataset_name])
        assert each.measure is Measure.CLASSES
        assert each.distance == pytest.approx(exact.distance)
        assert each.features_part + each.labels_part == pytest.approx(each.distance**2)
        assert each.pairs == ()
        assert each.scaled is not None
    assert ranking.proven == 0
    assert ranking.verdict is not None
    assert ranking.verdict.nearness is Nearness.NEAR
    assert ranking.map is not None
    assert ranking.map.points[0].dataset_name == "target"


@pytest.mark.usefixtures("few_references")
def test_the_map_shows_the_nearest_and_some_of_the_rest_in_their_places(
    registry: Registry,
) -> None:
    # On a line, where a plane has room for all distances.
    embedded = {f"{at}": cloud((at, 0.0), seed=at) for at in range(55)}
    ranking = registry.rank(cloud((0.2, 0.0), seed=99), registry.sources(embedded), k=2)
    assert ranking.map is not None
    target, *others = ranking.map.points
    assert target.dataset_name == "target"
    assert len(others) <= 40
    shown = {point.dataset_name for point in others}
    assert shown >= {f"{at}" for at in range(20)}
    assert len({name for name in shown if int(name) >= 20}) >= 10
    assert max(int(name) for name in shown) >= 50
    assert ranking.map.stress < 0.05
    for point in others:
        apart = math.dist((target.x, target.y), (point.x, point.y))
        assert apart == pytest.approx(abs(int(point.dataset_name) - 0.2), abs=1.0)


def test_a_source_that_is_deleted_meanwhile_is_told(registry: Registry) -> None:
    """So that the job begins anew, without it."""
    sources = registry.sources({f"{at}": shifted(at, seed=at + 1) for at in (0, 1, 2)})
    registry.world.store.delete([sources[1].embedding.key])
    with pytest.raises(DeletedMeanwhile, match="'1' was deleted"):
        registry.rank(shifted(0.1), sources)
    assert names(registry.rank(shifted(0.1), (sources[0], sources[2]))) == ["0", "2"]
