"""Two projects at one service: what is computed, stored, deleted and started from, apart."""

import os
import time
from pathlib import Path

import pytest
from sqlalchemy import select

from core.db.dataset_tables import EmbeddingRow
from core.db.identity_tables import ProjectRow
from core.db.job_tables import JobEventRow, JobRecordRow
from core.db.sessions import Sessions
from core.domain import keys
from core.domain.datasets import Dataset
from core.domain.identity import DEFAULT, PUBLIC, ProjectId
from core.domain.jobs import JobState, QueueName
from core.domain.searches import SearchSpec, StartPolicy
from core.domain.work import SearchInputs
from core.errors import NotFound
from core.execution import caches, collector, deletion
from core.services import datasets, jobs, searches, supernets, work
from core.storage.local import LocalStore
from tests.unit.execution.bench import Bench, job_of, submit
from tests.unit.services.samples import EMBEDDER, dataset, embedding, queued, sha256_of


@pytest.fixture
def system(bench: Bench) -> Sessions:
    """All projects' rows, as workers have them."""
    return Sessions(bench.settings.database)


@pytest.fixture
def other(system: Sessions) -> Sessions:
    """As another project has them."""
    with system.begin() as session:
        row = ProjectRow(name="other")
        session.add(row)
        session.flush()
        return system.within(ProjectId(row.id))


def test_a_worker_computes_for_all_and_writes_for_each(
    bench: Bench, system: Sessions, other: Sessions
) -> None:
    bench.sessions = system
    supervisor = bench.supervisor("succeed")
    projects = (system.within(DEFAULT), other)
    made = [(each, submit(each)) for each in projects]
    while supervisor.run_next(QueueName.CPU):
        pass
    for own, job_id in made:
        assert job_of(own, job_id).state is JobState.SUCCEEDED
        with own.read() as session:
            assert len(jobs.events(session, job_id)) == 3
            assert len(jobs.records(session, job_id)) == 1
    with system.read() as session:
        for row in (JobEventRow, JobRecordRow, EmbeddingRow):
            assert set(session.scalars(select(row.project_id))) == {
                each.project for each in projects
            }


def stored(store: LocalStore, of: Dataset, folder: Path) -> set[str]:
    """Its images, as intake would have put them there."""
    file = folder / "file"
    file.write_bytes(b"images")
    wanted = deletion.of_images(of.project_id, of.sha256)
    for key in wanted:
        store.put(key, file)
    return set(wanted)


def lying(store: LocalStore) -> set[str]:
    return {each.key for each in store.listing("")}


def test_deleting_in_one_takes_nothing_from_the_other(
    bench: Bench, system: Sessions, other: Sessions, tmp_path: Path
) -> None:
    store, found = LocalStore(tmp_path / "objects"), []
    for own in (system.within(DEFAULT), other):
        with own.begin() as session:
            made = dataset(session)
        found.append((made, stored(store, made, tmp_path)))
    (kept, its), (gone, _) = found
    strips = caches.examples(tmp_path) / f"{kept.sha256}-1"
    assert deletion.delete(other, store, tmp_path, gone.id)
    strips.mkdir(parents=True)  # drawn anew for who still has it
    caches.tidy(system, tmp_path)
    collector.collect(system, store)
    assert lying(store) == its
    assert strips.exists()
    with bench.sessions.read() as session:
        assert datasets.get(session, kept.id) == kept


def test_what_came_to_nothing_is_collected_in_every_project(
    system: Sessions, other: Sessions, tmp_path: Path
) -> None:
    store, named = LocalStore(tmp_path / "objects"), []
    file = tmp_path / "file"
    file.write_bytes(b"x")
    for own in (system.within(DEFAULT), other):
        with own.begin() as session:
            job = queued(session)
            jobs.cancel(session, job.id)
        named.append(keys.attempt(own.project, job.id, 1, "left.bin"))
        store.put(named[-1], file)
        old = time.time() - 2 * collector.GRACE_SECONDS
        os.utime(tmp_path / "objects" / named[-1], (old, old))
    told: list[str] = []
    collector.collect(system, store, tell=lambda each: told.append(each.key))
    assert sorted(told) == sorted(named)
    assert lying(store) == set()


def source(of_project: Sessions, name: str) -> Dataset:
    """A dataset with an embedding and a supernet of its own."""
    with of_project.begin() as session:
        made = dataset(session, name)
        datasets.record_embedding(session, embedding(made))
        for dataset_id in (made.id, None):  # and one of no dataset
            supernets.register(
                session, name=name, dataset_id=dataset_id, job_id=None, space={}, resolution=16,
                key=name, sha256=sha256_of(f"{name} {dataset_id}"), metrics={}, seconds=1.0,
                lineage={},
            )  # fmt: skip
        return made


def test_a_search_starts_from_its_own_and_from_what_is_public(
    system: Sessions, other: Sessions
) -> None:
    own = system.within(DEFAULT)
    for name, of_project in (("own", own), ("theirs", other), ("zoo", system.within(PUBLIC))):
        source(of_project, name)
    with own.begin() as session:
        target = dataset(session, "target")
        datasets.record_embedding(session, embedding(target))
        spec = SearchSpec(target.id, EMBEDDER, StartPolicy.RACE)
        _, job = searches.submit_search(session, spec)
    with own.read() as session:  # as an attempt at it does
        given = work.inputs(session, job)
    assert isinstance(given, SearchInputs)
    assert {each.dataset_name for each in given.sources} == {"own", "zoo"}
    assert {each.name for each in given.shared} == {"own", "zoo"}
    with pytest.raises(NotFound), other.read() as session:
        work.inputs(session, job)
