"""Datasets without images: they can be compared with, and nothing else."""

from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from core.data import class_statistics
from core.data.class_statistics import ClassStatistics
from core.db.sessions import Sessions
from core.domain.datasets import Dataset
from core.domain.jobs import JobKind
from core.domain.searches import EmbedSpec, PretrainSpec, RankSpec, SearchSpec
from core.domain.work import RankInputs
from core.errors import Conflict, InvalidInput
from core.services import datasets, jobs, searches, statistics_only, work
from tests.unit.data.statistics_files import EMBEDDER, encoded
from tests.unit.services.samples import dataset, embedding, sha256_of

NOBODY = UUID("8c1f2a34-5b6d-4e7f-8a9b-0c1d2e3f4a5b")


@pytest.fixture
def statistics(tmp_path: Path) -> ClassStatistics:
    path = tmp_path / "statistics.safetensors"
    path.write_bytes(encoded())
    return class_statistics.read(path)


def registered(sessions: Sessions, statistics: ClassStatistics, name: str = "owned") -> Dataset:
    with sessions.begin() as session:
        return statistics_only.register(
            session, statistics, sha256=sha256_of("s"), name=name, size_bytes=5
        )[0]


def test_it_becomes_a_dataset_with_its_embedding(
    sessions: Sessions, statistics: ClassStatistics
) -> None:
    made = registered(sessions, statistics)
    assert made.statistics_only
    assert (made.n_train, made.n_test) == (sum(statistics.counts), 0)
    assert [each.code for each in made.report.problems] == ["statistics_only"]
    with sessions.read() as session:
        assert datasets.get(session, made.id) == made
        seen = datasets.embedding(session, made.id, EMBEDDER)
    assert seen is not None
    assert (seen.sha256, seen.samples, seen.dimension) == (made.sha256, 0, 5)
    assert made.sha256 in seen.key
    assert seen.centre == pytest.approx(statistics.centre, rel=1e-6)
    with sessions.begin() as session:
        again = statistics_only.register(
            session, statistics, sha256=made.sha256, name="other", size_bytes=5
        )
    assert again == (made, False)


def test_it_is_a_source_and_can_be_ranked(sessions: Sessions, statistics: ClassStatistics) -> None:
    made = registered(sessions, statistics)
    with sessions.begin() as session:
        other = dataset(session)
        datasets.record_embedding(session, replace(embedding(other, EMBEDDER), dimension=5))
        of_other = searches.submit_rank(session, RankSpec(other.id, EMBEDDER))
        of_it = searches.submit_rank(session, RankSpec(made.id, EMBEDDER))
    with sessions.read() as session:
        given = work.inputs(session, of_other)
        assert isinstance(given, RankInputs)
        assert [(each.dataset_id, each.statistics_only) for each in given.sources] == [
            (made.id, True)
        ]
        given = work.inputs(session, of_it)
        assert isinstance(given, RankInputs)
        assert given.embedding is not None
        assert [each.statistics_only for each in given.sources] == [False]


def test_other_lengths_of_features_are_never_compared(
    sessions: Sessions, statistics: ClassStatistics
) -> None:
    """Registered first, such a file would else spoil every later ranking."""
    registered(sessions, statistics)
    with sessions.begin() as session:
        other = dataset(session)
        datasets.record_embedding(session, replace(embedding(other, EMBEDDER), dimension=115))
        job = searches.submit_rank(session, RankSpec(other.id, EMBEDDER))
        given = work.inputs(session, job)
    assert isinstance(given, RankInputs)
    assert (given.sources, given.considered) == ((), 0)


def test_nothing_is_computed_from_images_that_are_not_here(
    sessions: Sessions, statistics: ClassStatistics
) -> None:
    made = registered(sessions, statistics)
    asked: list[tuple[Any, Any]] = [
        (searches.submit_embed, EmbedSpec(made.id, EMBEDDER)),
        (searches.submit_embed, EmbedSpec(made.id, "other@1")),
        (searches.submit_rank, RankSpec(made.id, "other@1")),
        (searches.submit_pretrain, PretrainSpec(made.id, "net", EMBEDDER)),
        (searches.submit_search, SearchSpec(made.id, EMBEDDER)),
    ]
    with sessions.begin() as session:
        here = dataset(session)
        several = PretrainSpec(here.id, "net", EMBEDDER, others=(made.id,))
        asked.append((searches.submit_pretrain, several))
        for submit, spec in asked:
            with pytest.raises(Conflict) as refused:
                submit(session, spec)
            assert refused.value.stable_code == "statistics_only"
        assert jobs.listing(session, limit=9, kind=JobKind.EMBED)[0] == ()
        assert searches.listing(session, limit=9)[0] == ()


@pytest.mark.parametrize(
    ("embedder", "code"),
    [
        ("../../etc", "invalid"),
        ("", "invalid"),
        ("nonesuch@1", "unknown_embedder"),
        ("trunk@7", "invalid"),
        (f"trunk@{NOBODY}", "unknown_embedder"),
    ],
)
def test_its_embedder_must_be_one_of_ours(
    sessions: Sessions, statistics: ClassStatistics, embedder: str, code: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        registered(sessions, replace(statistics, embedder=embedder))
    assert refused.value.details[0].code == code


def test_its_features_must_be_as_many_as_that_embedder_makes(
    sessions: Sessions, statistics: ClassStatistics
) -> None:
    with sessions.begin() as session:
        datasets.record_embedding(session, embedding(dataset(session), EMBEDDER))
    with pytest.raises(InvalidInput, match="64 features, not 5") as refused:
        registered(sessions, statistics)
    assert refused.value.stable_code == "wrong_dimension"
