"""Datasets, their embeddings and rankings."""

from dataclasses import replace
from uuid import uuid4

import pytest

from core.db.sessions import Sessions
from core.domain.datasets import DatasetReport, Problem
from core.errors import InvalidInput, NotFound
from core.services import datasets
from tests.unit.services.samples import (
    EMBEDDER,
    REPORT,
    dataset,
    embedding,
    ranking,
    sha256_of,
)

TERMS = {
    "sha256": sha256_of("x"),
    "name": "x",
    "classes": ("a", "b"),
    "train_counts": (1, 2),
    "test_counts": (1, 1),
    "channels": 3,
    "report": REPORT,
}


def test_a_dataset_comes_back_as_it_was_given(sessions: Sessions) -> None:
    with sessions.begin() as session:
        made, created = datasets.register(session, **TERMS)
    assert created
    with sessions.read() as session:
        assert datasets.get(session, made.id) == made
    assert (made.classes, made.n_train, made.n_test, made.report) == (("a", "b"), 3, 2, REPORT)


def test_the_same_content_is_the_same_dataset(sessions: Sessions) -> None:
    with sessions.begin() as session:
        first, _ = datasets.register(session, **TERMS)
        second, created = datasets.register(session, **{**TERMS, "name": "another name"})
    assert second == first
    assert not created


@pytest.mark.parametrize("name", ["", "  ", "n" * 201, "a\x00b", "line\nbreak"])
def test_names_are_for_people(sessions: Sessions, name: str) -> None:
    with sessions.begin() as session, pytest.raises(InvalidInput) as caught:
        datasets.register(session, **{**TERMS, "name": name})
    assert caught.value.details[0].place == "name"


@pytest.mark.parametrize(
    "wrong", [{"sha256": "../x"}, {"sha256": "A" * 64}, {"test_counts": (1,)}]
)
def test_intake_must_say_sensible_things(sessions: Sessions, wrong: dict[str, object]) -> None:
    with sessions.begin() as session, pytest.raises(ValueError, match=r"sha256|count"):
        datasets.register(session, **{**TERMS, **wrong})


def test_odd_file_names_in_a_report_are_kept_readable(sessions: Sessions) -> None:
    odd = Problem("warning", "odd_name", "a/\udcff\x00.png", "It has an odd name.")
    report = DatasetReport((odd,), 1, 1, 0, "given", None, {}, {})
    with sessions.begin() as session:
        made, _ = datasets.register(session, **{**TERMS, "report": report})
    assert made.report.problems[0].place == "a/?.png"


def test_an_unknown_dataset(sessions: Sessions) -> None:
    with sessions.read() as session, pytest.raises(NotFound):
        datasets.get(session, uuid4())


def test_every_dataset_is_on_one_page(sessions: Sessions) -> None:
    with sessions.begin() as session:
        made = {dataset(session, str(i)).id for i in range(5)}
    seen, token = [], None
    while token or not seen:
        with sessions.read() as session:
            rows, token = datasets.listing(session, limit=2, after=token)
        seen += [row.id for row in rows]
    assert len(seen) == 5
    assert set(seen) == made


def test_the_first_embedding_stays(sessions: Sessions) -> None:
    with sessions.begin() as session:
        target = dataset(session)
        assert datasets.embedding(session, target.id, EMBEDDER) is None
        first = embedding(target)
        assert datasets.record_embedding(session, first) == first
        later = embedding(target, "other")
        datasets.record_embedding(session, later)
    with sessions.begin() as session:
        assert datasets.record_embedding(session, replace(first, seconds=9.0)) == first
        assert datasets.embedding(session, target.id, EMBEDDER) == first
        assert datasets.embedding(session, target.id, "other") == later


def test_the_newest_ranking_counts(sessions: Sessions) -> None:
    with sessions.begin() as session:
        target, near, far = (dataset(session, name) for name in ("t", "n", "f"))
        assert datasets.ranking(session, target.id) is None
        datasets.record_ranking(session, ranking(target, near))
        datasets.record_ranking(session, ranking(target, near, far))
    with sessions.read() as session:
        assert datasets.ranking(session, target.id) == ranking(target, near, far)
        assert datasets.ranking(session, target.id, embedder="other") is None
        assert datasets.ranking(session, near.id) is None
