"""Datasets, their embeddings and rankings."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar
from uuid import UUID, uuid4

import pytest
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from core.db.sessions import Sessions
from core.domain import keys
from core.domain.datasets import Dataset, DatasetReport, Problem
from core.domain.identity import DEFAULT
from core.domain.jobs import JobKind
from core.domain.searches import EmbedSpec, PretrainSpec
from core.errors import Conflict, Gone, InvalidInput, NotFound
from core.services import datasets, inventory, jobs, searches, work
from tests.unit.services.samples import (
    EMBEDDER,
    REPORT,
    dataset,
    embedding,
    queued,
    ranking,
    running,
    sha256_of,
)

T = TypeVar("T")

TERMS: dict[str, Any] = {
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
    assert made.report is not None
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


@contextmanager
def statements(session: Session) -> Iterator[list[str]]:
    """Every statement that the session sends meanwhile."""
    sent: list[str] = []
    engine = session.connection().engine

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        sent.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(engine, "before_cursor_execute", note)


def test_reports_stay_in_the_database_when_datasets_are_listed(sessions: Sessions) -> None:
    with sessions.begin() as session:
        made = dataset(session)
        later = datasets.register(session, **TERMS, parent_id=made.id)[0]
    acts: list[Callable[[Session], object]] = [
        lambda session: datasets.listing(session, limit=9),
        lambda session: datasets.versions(session, made.id),
        lambda session: datasets.get(session, made.id, report=False),
        lambda session: datasets.remembered(session, made.id),
        lambda session: list(inventory.named(session)),
    ]
    for act in acts:
        with sessions.read() as session, statements(session) as sent:
            act(session)
            assert sent
            assert not any("report" in statement for statement in sent)
    with sessions.read() as session, statements(session) as sent:
        assert datasets.get(session, made.id) == made
        assert len(sent) == 1
        assert "report" in sent[0]
    with sessions.read() as session:  # what was listed first is whole all the same
        assert {each.id for each in datasets.listing(session, limit=9)[0]} == {made.id, later.id}
        assert datasets.get(session, made.id) == made
        assert datasets.find(session, later.sha256) == later


def test_jobs_are_not_told_the_reports(sessions: Sessions) -> None:
    with sessions.begin() as session:
        target, other = dataset(session), dataset(session, "other")
        embed = searches.submit_embed(session, EmbedSpec(target.id, "oriented-energy@1"))
        spec = PretrainSpec(target.id, "net", "oriented-energy@1", others=(other.id,))
        pretrain = searches.submit_pretrain(session, spec)
    for job in (embed, pretrain):
        with sessions.read() as session, statements(session) as sent:
            inputs = work.inputs(session, job)
            assert not any("report" in statement for statement in sent)
        assert inputs.dataset == replace(target, report=None)


def test_where_a_dataset_comes_from(sessions: Sessions) -> None:
    told = {"licence": " CC-BY-4.0 ", "source": "https://example.org/set"}
    told |= {"originals_sha256": sha256_of("o"), "size_bytes": 2**40}
    with sessions.begin() as session:
        made, _ = datasets.register(session, **TERMS, **told)
        assert (made.licence, made.source) == ("CC-BY-4.0", "https://example.org/set")
        assert (made.originals_sha256, made.size_bytes) == (sha256_of("o"), 2**40)
        assert datasets.register(session, **{**TERMS, "licence": "other"}) == (made, False)
        bare, _ = datasets.register(session, **{**TERMS, "sha256": sha256_of("y")}, licence=" ")
        assert (bare.licence, bare.source, bare.version, bare.parent_id) == (None, None, 1, None)
    for place, value in (("licence", "n" * 201), ("source", "a\nb"), ("source", "n" * 2001)):
        with sessions.begin() as session, pytest.raises(InvalidInput) as caught:
            datasets.register(session, **TERMS, **{place: value})
        assert caught.value.details[0].place == place
    with sessions.begin() as session, pytest.raises(ValueError, match="sha256"):
        datasets.register(session, **TERMS, originals_sha256="x")


def version_of(session: Session, parent: Dataset, name: str) -> Dataset:
    terms = {**TERMS, "sha256": sha256_of(name), "name": name, "parent_id": parent.id}
    return datasets.register(session, **terms)[0]


def test_versions_count_along_the_family(sessions: Sessions) -> None:
    with sessions.begin() as session:
        first, stranger = dataset(session), dataset(session, "stranger")
        second = version_of(session, first, "second")
        third = version_of(session, first, "third")  # of the first as well: the number is its own
        fourth = version_of(session, second, "fourth")
        family = [first, second, third, fourth]
        assert [each.version for each in family] == [1, 2, 3, 4]
        assert [each.parent_id for each in family] == [None, first.id, first.id, second.id]
        bare = tuple(replace(each, report=None) for each in family)
        assert all(datasets.versions(session, each.id) == bare for each in family)
        assert [each.id for each in datasets.versions(session, stranger.id)] == [stranger.id]
        assert version_of(session, fourth, "second") == second  # known content keeps its place
        datasets.delete(session, second.id)
        assert version_of(session, third, "fifth").version == 5
        there = [each.deleted_at is None for each in datasets.versions(session, first.id)]
        assert there == [True, False, True, True, True]
        with pytest.raises(Gone):
            version_of(session, second, "sixth")
        with pytest.raises(Gone):
            datasets.versions(session, second.id)
    for act in (datasets.versions, lambda session, id_: datasets.remembered(session, id_)):
        with sessions.read() as session, pytest.raises(NotFound):
            act(session, uuid4())
    with sessions.begin() as session, pytest.raises(NotFound):
        datasets.register(session, **TERMS, parent_id=uuid4())


def together(work_of: Callable[[int], T], n: int = 8) -> list[T]:
    gate = threading.Barrier(n)

    def begin(i: int) -> T:
        gate.wait()
        return work_of(i)

    with ThreadPoolExecutor(n) as pool:
        return list(pool.map(begin, range(n)))


def test_versions_that_come_at_once_have_numbers_of_their_own(sessions: Sessions) -> None:
    with sessions.begin() as session:
        first = dataset(session)

    def register(i: int) -> int:
        with sessions.begin() as session:
            return version_of(session, first, str(i)).version

    assert sorted(together(register)) == list(range(2, 10))


def raw(sessions: Sessions, dataset_id: UUID) -> str:
    """The whole row as text."""
    with sessions.read() as session:
        postgresql = session.get_bind().dialect.name == "postgresql"
        given = {"id": dataset_id if postgresql else dataset_id.hex}
        row = session.execute(text("SELECT * FROM datasets WHERE id = :id"), given).one()
        return str(tuple(row))


def test_a_deleted_dataset_leaves_a_tombstone(sessions: Sessions) -> None:
    told = {"licence": "CC0", "size_bytes": 9, "originals_sha256": sha256_of("o")}
    with sessions.begin() as session:
        made, _ = datasets.register(session, **{**TERMS, "classes": ("ant", "bee")}, **told)
        near = dataset(session)
        other = embedding(near)
        datasets.record_embedding(session, embedding(made))
        datasets.record_embedding(session, other)
        datasets.record_ranking(session, ranking(made, near))
        datasets.record_ranking(session, ranking(near, made))
    assert "truncated" in raw(sessions, made.id)
    with sessions.begin() as session:
        assert datasets.delete(session, made.id) == made.sha256
    assert not any(word in raw(sessions, made.id) for word in ("truncated", "ant", "bee"))
    with sessions.read() as session:
        for act in (datasets.get, datasets.with_images, datasets.versions):
            with pytest.raises(Gone, match="'x' was deleted on 20") as caught:
                act(session, made.id)
            assert caught.value.stable_code == "dataset_deleted"
        assert datasets.find(session, made.sha256) is None
        assert [each.id for each in datasets.listing(session, limit=9)[0]] == [near.id]
        assert datasets.embedding(session, made.id, EMBEDDER) is None
        assert datasets.ranking(session, made.id) is None
        assert datasets.embedding(session, near.id, EMBEDDER) == other
        [neighbour] = ranking(near, made).neighbours
        said = datasets.ranking(session, near.id)
        assert said is not None
        assert said.neighbours == (replace(neighbour, coupling=(), pairs=(), deleted=True),)
        named = {each.key for each in inventory.named(session)}
        assert named == {keys.originals(DEFAULT, near.sha256), other.key}
        left = datasets.remembered(session, made.id)
    assert left.deleted_at is not None
    expected = {"classes": (), "report": None, "size_bytes": 0, "originals_sha256": None}
    assert left == replace(made, **expected, deleted_at=left.deleted_at)
    with sessions.begin() as session, pytest.raises(Gone):
        datasets.delete(session, made.id)
    with sessions.begin() as session, pytest.raises(NotFound):
        datasets.delete(session, uuid4())


def test_all_that_is_stored_of_a_dataset_lies_in_its_folder() -> None:
    sha256 = sha256_of("x")
    stored = (
        keys.originals(DEFAULT, sha256),
        keys.packed(DEFAULT, sha256, 32),
        keys.embedding(DEFAULT, sha256, EMBEDDER, sha256),
    )
    assert all(each.startswith(f"{keys.dataset(DEFAULT, sha256)}/") for each in stored)


@pytest.mark.parametrize("how", ["of it", "with it"])
def test_a_dataset_that_jobs_need_is_not_deleted(sessions: Sessions, how: str) -> None:
    with sessions.begin() as session:
        made = dataset(session)
        queued(session, kind=JobKind.GROUP, spec={"dataset_ids": [str(made.id)]})
    wants: dict[str, Any] = {"dataset_id": made.id}
    if how == "with it":
        wants = {"spec": {"others": [str(made.id)]}}
    job = running(sessions, **wants)
    with sessions.begin() as session:
        with pytest.raises(Conflict, match=str(job.id)) as caught:
            datasets.delete(session, made.id)
        assert caught.value.stable_code == "dataset_in_use"
        jobs.finish(session, job.id, job.fence, {})
        datasets.delete(session, made.id)


def test_the_same_content_brings_a_deleted_dataset_back(sessions: Sessions) -> None:
    with sessions.begin() as session:
        parent = dataset(session)
        made, _ = datasets.register(session, **TERMS, parent_id=parent.id, licence="CC0")
        datasets.delete(session, made.id)
    fresh = replace(REPORT, images_seen=99)
    with sessions.begin() as session:
        terms = {**TERMS, "name": "again", "classes": ("c", "d"), "report": fresh}
        again, created = datasets.register(session, **terms, size_bytes=5)
        assert created
    expected = {"name": "again", "classes": ("c", "d"), "report": fresh, "size_bytes": 5}
    assert again == replace(made, **expected, created_at=again.created_at)
    assert again.created_at >= made.created_at
    assert (again.version, again.licence) == (2, "CC0")
    with sessions.read() as session:
        assert datasets.get(session, made.id) == again
        assert datasets.find(session, made.sha256) == again
    with sessions.begin() as session:
        assert datasets.register(session, **TERMS) == (again, False)


def test_many_who_bring_it_back_at_once_bring_back_one(sessions: Sessions) -> None:
    with sessions.begin() as session:
        made, _ = datasets.register(session, **TERMS)
        datasets.delete(session, made.id)

    def register(i: int) -> tuple[UUID, str, bool]:
        with sessions.begin() as session:
            back, created = datasets.register(session, **{**TERMS, "name": f"upload {i}"})
            return back.id, back.name, created

    results = together(register)
    assert {id_ for id_, _, _ in results} == {made.id}
    assert len({name for _, name, _ in results}) == 1
    assert sum(created for _, _, created in results) == 1


def test_many_who_delete_it_at_once_delete_it_once(sessions: Sessions) -> None:
    with sessions.begin() as session:
        made = dataset(session)

    def delete(_: int) -> bool:
        try:
            with sessions.begin() as session:
                datasets.delete(session, made.id)
        except Gone:
            return False
        return True

    assert sum(together(delete)) == 1
