"""Of a large registry a job meets the nearest, whoever chooses them: the database or the job."""

import math
from dataclasses import replace

import pytest

from core.db.sessions import Sessions
from core.domain.datasets import Dataset, Embedding
from core.domain.searches import RankSpec
from core.domain.work import RankInputs
from core.ot import centres
from core.ot.embedded_dataset import EmbeddedDataset
from core.pipelines import compare_datasets
from core.services import datasets, sources, wire
from core.services.sources import Chosen
from tests.unit.ot.registries import shifted
from tests.unit.services.samples import EMBEDDER, dataset, sha256_of

D = 3
TARGET = shifted(0.3, dimension=D)


def registered(sessions: Sessions) -> Dataset:
    """A target that nobody has embedded, and nine sources: one of another dimension, three whose
    centre is of no use, two at one place."""
    places = [(float(at), 0.0, at / 7) for at in (5, 1, 4, 1, 2)]
    useless = [(), (math.nan, 0.0, 0.0), (1.0, math.inf, 0.0)]
    rows = [(D, place) for place in (*places, *useless)] + [(D + 1, (0.0,) * (D + 1))]
    with sessions.begin() as session:
        for at, (dimension, centre) in enumerate(rows):
            of = dataset(session, f"set {at}")
            name = sha256_of(f"{at}")
            row = Embedding(of.id, EMBEDDER, f"key {at}", name, dimension, 9, 0.1, centre)
            datasets.record_embedding(session, row)
        return dataset(session, "target")


def choose(sessions: Sessions, target: Dataset, embedding: Embedding | None) -> Chosen:
    with sessions.read() as session:
        return sources.choose(session, embedder=EMBEDDER, exclude=target.id, target=embedding)


def embed(sessions: Sessions, target: Dataset, embedded: EmbeddedDataset) -> Embedding:
    centre = tuple(embedded.centre.tolist())
    row = Embedding(target.id, EMBEDDER, "key", sha256_of("key"), D, 9, 0.1, centre)
    with sessions.begin() as session:
        datasets.record_embedding(session, row)
    with sessions.read() as session:
        found = datasets.embedding(session, target.id, EMBEDDER)
    assert found is not None
    return found


@pytest.mark.parametrize("limit", [1, 2, 4, 5])
def test_the_job_chooses_as_the_database_would(
    sessions: Sessions, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(centres, "LIMIT", limit)
    target = registered(sessions)
    blind = choose(sessions, target, None)
    assert (len(blind.sources), blind.considered, blind.beyond) == (9, 9, None)
    spec = RankSpec(target.id, EMBEDDER)
    asked = RankInputs(spec, target, None, blind.sources, None, blind.considered)
    given: RankInputs = wire.load(RankInputs, wire.dump(asked))
    narrowed = compare_datasets.narrowed(given, TARGET)

    known = choose(sessions, target, embed(sessions, target, TARGET))
    assert len(known.sources) == limit + 3
    assert tuple(replace(each, centre="") for each in narrowed.sources) == known.sources
    assert (narrowed.considered, narrowed.beyond) == (known.considered, known.beyond)


def test_centres_travel_only_where_the_job_has_to_choose(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = registered(sessions)
    monkeypatch.setattr(centres, "LIMIT", 9)
    assert {each.centre for each in choose(sessions, target, None).sources} == {""}
    monkeypatch.setattr(centres, "LIMIT", 8)
    assert sum(each.centre != "" for each in choose(sessions, target, None).sources) == 8
    seen = embed(sessions, target, TARGET)
    assert {each.centre for each in choose(sessions, target, seen).sources} == {""}
