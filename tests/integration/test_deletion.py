"""Deletion beside uploads, jobs and collectors, on both databases and stores: whatever the order,
what is registered has its objects, and what is deleted has none."""

import contextlib
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from core.config import UploadLimits
from core.data.prepared import Prepared
from core.db.dataset_tables import DatasetRow
from core.db.sessions import Sessions
from core.domain import keys
from core.domain.datasets import Dataset
from core.domain.identity import DEFAULT
from core.domain.jobs import JobId
from core.domain.searches import EmbedSpec
from core.domain.work import EmbedInputs
from core.errors import Conflict, DeletedMeanwhile, Gone
from core.execution import collector, deletion
from core.pipelines.ingest_dataset import ingest, outcome_of
from core.ports import ObjectStore
from core.services import datasets, jobs, searches, work
from core.storage.local import LocalStore
from core.storage.s3 import S3Store
from tests.unit.data.builders import dataset as images
from tests.unit.data.builders import write, zip_bytes
from tests.unit.services.samples import EMBEDDER, claimed


@pytest.fixture
def store(
    request: pytest.FixtureRequest, database_url: str, tmp_path: Path
) -> Iterator[ObjectStore]:
    """Local files beside SQLite, a bucket beside PostgreSQL."""
    if database_url.startswith("sqlite"):
        yield LocalStore(tmp_path / "objects")
        return
    with contextlib.closing(S3Store(request.getfixturevalue("s3_storage"))) as s3:
        yield s3


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    """Files of a small dataset, as intake leaves them."""
    archive = write(tmp_path / "upload", zip_bytes(images(5)))
    elsewhere = LocalStore(tmp_path / "elsewhere")
    return ingest(
        archive, folder=tmp_path / "out", project=DEFAULT, store=elsewhere, limits=UploadLimits()
    )


def put(store: ObjectStore, prepared: Prepared) -> None:
    """What intake stores."""
    originals, packed = deletion.of_images(DEFAULT, prepared.sha256)
    store.put(originals, prepared.originals)
    store.put(packed, prepared.packed)


def register(sessions: Sessions, store: ObjectStore, prepared: Prepared) -> tuple[Dataset, bool]:
    """As the API and a job's end do it."""
    with sessions.begin() as session:
        made = datasets.take_in(session, outcome_of(prepared), name="x")
        deletion.check_stored(store, *deletion.of_images(DEFAULT, prepared.sha256))
        return made


def stored(store: ObjectStore, sha256: str) -> set[str]:
    return {each.key for each in store.listing(keys.dataset(DEFAULT, sha256))}


def test_any_order_of_uploads_deletions_and_collections(
    sessions: Sessions, store: ObjectStore, prepared: Prepared, tmp_path: Path
) -> None:
    put(store, prepared)
    made, _ = register(sessions, store, prepared)
    ends: list[str] = []
    gate = threading.Barrier(4)

    def upload(rng: random.Random) -> None:
        put(store, prepared)
        pause(rng)
        try:
            register(sessions, store, prepared)
            ends.append("registered")
        except DeletedMeanwhile:
            ends.append("again")

    def delete(_: random.Random) -> None:
        with contextlib.suppress(Gone):
            deletion.delete(sessions, store, tmp_path, made.id)
            ends.append("deleted")

    def collect(_: random.Random) -> None:
        collector.collect(sessions, store)

    def act(which: int) -> None:
        rng = random.Random(which)
        gate.wait()
        for _ in range(12):
            rng.choice((upload, upload, delete, collect))(rng)
            with sessions.begin() as session:
                row = session.get_one(DatasetRow, made.id, with_for_update=True)
                if row.deleted_at is None:
                    assert set(deletion.of_images(DEFAULT, made.sha256)) <= stored(
                        store, made.sha256
                    )

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(act, range(4)))
    assert {"registered", "deleted"} <= set(ends)
    put(store, prepared)
    register(sessions, store, prepared)
    assert stored(store, made.sha256) == set(deletion.of_images(DEFAULT, made.sha256))
    deletion.delete(sessions, store, tmp_path, made.id)
    assert stored(store, made.sha256) == set()
    assert list(store.listing("")) == []


def pause(rng: random.Random) -> None:
    threading.Event().wait(rng.random() / 100)


def test_a_deletion_and_a_request_for_a_job_wait_for_each_other(
    sessions: Sessions, store: ObjectStore, prepared: Prepared, tmp_path: Path
) -> None:
    """Whoever is first wins: it is in use, or the job is refused, or says why it cannot begin."""
    for turn in range(10):
        put(store, prepared)
        made, _ = register(sessions, store, prepared)
        ended, job_id = at_once(sessions, store, tmp_path, made, turn / 2000)
        if job_id is None:
            assert ended == "deleted"
            continue
        with sessions.begin() as session:
            job = claimed(session)
            assert job.id == job_id
            if ended == "deleted":
                with pytest.raises(Gone):
                    work.inputs(session, job)
            else:
                assert ended == "dataset_in_use"
                inputs = work.inputs(session, job)
                assert isinstance(inputs, EmbedInputs)
                assert inputs.dataset.id == made.id
            jobs.fail(session, job.id, job.fence, "internal", "")
        with contextlib.suppress(Gone):
            deletion.delete(sessions, store, tmp_path, made.id)
    assert list(store.listing("")) == []


def at_once(
    sessions: Sessions, store: ObjectStore, home: Path, made: Dataset, seconds: float
) -> tuple[str, JobId | None]:
    """Delete it, and ask for a job so much later: how that ended, and the job."""
    gate = threading.Barrier(2)

    def delete() -> str:
        gate.wait()
        try:
            deletion.delete(sessions, store, home, made.id)
        except Conflict as error:
            return error.stable_code
        return "deleted"

    def submit() -> JobId | None:
        gate.wait()
        threading.Event().wait(seconds)
        try:
            with sessions.begin() as session:
                return searches.submit_embed(session, EmbedSpec(made.id, EMBEDDER)).id
        except Gone:
            return None

    with ThreadPoolExecutor(2) as pool:
        ended, asked = pool.submit(delete), pool.submit(submit)
        return ended.result(), asked.result()


class Killed(BaseException):
    """What a `kill -9` looks like from inside a test."""


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_killed_deletion_is_ended_by_the_collector(
    sessions: Sessions, store: ObjectStore, prepared: Prepared, tmp_path: Path, after: int
) -> None:
    put(store, prepared)
    made, _ = register(sessions, store, prepared)
    late = keys.packed(DEFAULT, made.sha256, 64)  # what a lost attempt writes after the end
    with pytest.raises(Killed), dying(store, after):
        deletion.delete(sessions, store, tmp_path, made.id)
    assert len(stored(store, made.sha256)) == 2 - after
    with sessions.read() as session, pytest.raises(Gone):
        datasets.get(session, made.id)
    collector.collect(sessions, store)
    assert stored(store, made.sha256) == set()
    store.put(late, prepared.packed)
    collector.collect(sessions, store)
    assert stored(store, made.sha256) == set()


@contextlib.contextmanager
def dying(store: ObjectStore, after: int) -> Iterator[None]:
    """After so many deletions, or at the very end."""
    honest: Callable[[Any], None] = store.delete
    left = [after]

    def delete(which: Any) -> None:
        if left[0] == 0:
            raise Killed
        left[0] -= 1
        honest(which)
        if after == 2 and left[0] == 0:
            raise Killed

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(store, "delete", delete)
        yield
