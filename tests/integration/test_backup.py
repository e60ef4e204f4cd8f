"""The database first, the objects second; restored elsewhere, everything it names is there."""

import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from core import bootstrap
from core.config import Settings
from core.domain import keys
from core.domain.datasets import Embedding
from core.domain.identity import DEFAULT
from core.domain.jobs import Checkpoint, Job, JobState, QueueName
from core.domain.searches import Artifact, PretrainSpec, SearchSpec
from core.execution import collector, verification
from core.services import datasets, jobs, models, searches, supernets
from core.storage.s3 import S3Store
from tests.fixtures.postgres import fresh_database
from tests.fixtures.projects import of_project
from tests.unit.services.samples import EMBEDDER, dataset, expire, sha256_of


@dataclass
class Place:
    """A database and a store, and a folder for files on their way."""

    settings: Settings
    container: bootstrap.Container
    folder: Path

    def put(self, key: str, data: bytes) -> str:
        """Store the bytes as an attempt would; their checksum."""
        source = self.folder / "source"
        source.write_bytes(data)
        self.container.store.put(key, source)
        return hashlib.sha256(data).hexdigest()

    def claim(self, queue: QueueName = QueueName.GPU) -> Job:
        with self.container.sessions.begin() as session:
            job = jobs.claim(session, queue=queue, owner="w", lease_seconds=600)
        assert job is not None
        return job

    def keep(self, job: Job, step: int, data: bytes) -> None:
        """A checkpoint, stored and told of."""
        key = keys.attempt(DEFAULT, job.id, job.fence, f"checkpoints/{step}.bin")
        made = Checkpoint(job.fence, step, key, self.put(key, data), len(data))
        with self.container.sessions.begin() as session:
            jobs.add_checkpoint(session, job.id, job.fence, made)

    def write_model(self, job: Job, data: bytes) -> tuple[tuple[Artifact, ...], str, str]:
        """A model's files with its manifest last, as the pipeline writes them."""
        made = []
        for name in ("model.onnx", "genotype.json"):
            key = keys.attempt(DEFAULT, job.id, job.fence, f"model/{name}")
            sha256 = self.put(key, data + name.encode())
            size = len(data) + len(name)
            made.append(Artifact(name, key, sha256, size, "application/octet-stream"))
        manifest = keys.attempt(DEFAULT, job.id, job.fence, "model/manifest.json")
        said = json.dumps([asdict(each) for each in made], indent=1).encode()
        return tuple(made), manifest, self.put(manifest, said)

    def finish(self, job: Job, data: bytes) -> None:
        """Write the model, then commit it."""
        artifacts, manifest, sha256 = self.write_model(job, data)
        with self.container.sessions.begin() as session:
            search = searches.by_job(session, job.id)
            models.register(
                session,
                search_id=search.id,
                dataset_id=search.dataset_id,
                genotype={},
                metrics={},
                artifacts=artifacts,
                manifest_key=manifest,
                manifest_sha256=sha256,
            )
            jobs.finish(session, job.id, job.fence, {})

    def populate(self) -> Job:
        """One of everything; the job that still runs, with two checkpoints."""
        sessions = self.container.sessions
        with sessions.begin() as session:
            made = dataset(session)
            self.put(keys.originals(DEFAULT, made.sha256), b"images")
            key = keys.embedding(DEFAULT, made.sha256, EMBEDDER, "0" * 64)
            seen = Embedding(made.id, EMBEDDER, key, self.put(key, b"features"), 64, 7, 0.5)
            datasets.record_embedding(session, seen)
            searches.submit_pretrain(session, PretrainSpec(made.id, "net", EMBEDDER))
        job = self.claim()
        key = keys.attempt(DEFAULT, job.id, job.fence, "supernet.safetensors")
        sha256 = self.put(key, b"weights")
        with sessions.begin() as session:
            about: dict[str, Any] = {"space": {}, "metrics": {}, "lineage": {}, "seconds": 1.0}
            supernets.register(
                session,
                name="net",
                dataset_id=made.id,
                job_id=job.id,
                resolution=16,
                key=key,
                sha256=sha256,
                **about,
            )
            jobs.finish(session, job.id, job.fence, {})
            for _ in range(3):
                searches.submit_search(session, SearchSpec(made.id, EMBEDDER))
        self.finish(self.claim(), b"first model ")
        running = self.claim()
        for step in (1, 2):
            self.keep(running, step, b"state %d" % step)
        return running

    def go_on(self, running: Job) -> None:
        """What happens between the two halves of a backup, and is lost but for its objects."""
        with self.container.sessions.begin() as session:
            expire(session, running.id)
            jobs.reap(session, retry_delays=())
            made = dataset(session, "later")
            self.put(keys.originals(DEFAULT, made.sha256), b"later images")
        again = self.claim()
        assert (again.id, again.fence) == (running.id, 2)
        self.keep(again, 3, b"state 3 of the lost attempt")
        self.finish(again, b"the lost model ")

    def problems(self) -> list[verification.Problem]:
        found: list[verification.Problem] = []
        verification.verify(self.container.sessions, self.container.store, tell=found.append)
        return found

    def headstart(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """The command, told of this place."""
        storage = self.settings.storage
        told = {"HEADSTART_STORAGE__KIND": storage.kind}
        if storage.kind == "s3":
            assert storage.access_key is not None
            assert storage.secret_key is not None
            told |= {
                "HEADSTART_STORAGE__BUCKET": storage.bucket,
                "HEADSTART_STORAGE__ENDPOINT_URL": str(storage.endpoint_url),
                "HEADSTART_STORAGE__ACCESS_KEY": storage.access_key.get_secret_value(),
                "HEADSTART_STORAGE__SECRET_KEY": storage.secret_key.get_secret_value(),
            }
        told["HEADSTART_HOME"] = str(self.settings.home)
        if self.settings.database_url:
            told["HEADSTART_DATABASE_URL"] = self.settings.database_url
        return subprocess.run(
            [sys.executable, "-m", "api.cli", *arguments],
            env={**os.environ, **told},
            capture_output=True,
            text=True,
            check=False,
        )

    def goes_on_as_it_was(self, running: Job) -> None:
        """After the restore: all is there, and the job ends on what was backed up."""
        assert self.problems() == []
        with self.container.sessions.read() as session:
            told = jobs.checkpoints(session, running.id)
            assert [each.step for each in told] == [2, 1]
            assert len(datasets.listing(session, limit=9)[0]) == 1
        with self.container.sessions.begin() as session:
            expire(session, running.id)
            jobs.reap(session, retry_delays=())
        self.finish(self.claim_this(running), b"the model after the restore ")
        assert self.problems() == []
        with self.container.sessions.read() as session:
            assert jobs.get(session, running.id).state is JobState.SUCCEEDED
            assert len(models.listing(session, limit=9)[0]) == 2

    def claim_this(self, running: Job) -> Job:
        job = self.claim()  # the oldest first
        assert job.id == running.id
        return job


@contextlib.contextmanager
def place(folder: Path, **told: object) -> Iterator[Place]:
    folder.mkdir(parents=True, exist_ok=True)
    settings = Settings.model_validate({"home": folder / "home", **told})
    container = of_project(bootstrap.build(settings))
    try:
        yield Place(settings, container, folder)
    finally:
        container.close()
        if isinstance(container.store, S3Store):
            container.store.close()


@pytest.fixture
def cluster(
    request: pytest.FixtureRequest, migrated_postgres: str, postgres_server: str, tmp_path: Path
) -> Iterator[Place]:
    """PostgreSQL and a bucket."""
    storage = request.getfixturevalue("s3_storage")
    with (
        fresh_database(postgres_server, template=migrated_postgres) as url,
        place(tmp_path / "before", database_url=url, storage=storage) as made,
    ):
        yield made


def tool(binaries: Path, name: str, url: str, *options: str) -> None:
    """One of PostgreSQL's own programs; the password is not in its arguments."""
    where = make_url(url)
    told = {
        "PGHOST": str(where.host),
        "PGPORT": str(where.port),
        "PGUSER": str(where.username),
        "PGPASSWORD": str(where.password),
        "PGDATABASE": str(where.database),
    }
    done = subprocess.run(
        [binaries / name, *options],
        env={**os.environ, **told},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def copied(source: Place, bucket: S3Store, folder: Path) -> None:
    """Every object, as `aws s3 sync` would."""
    for each in source.container.store.listing(""):
        with source.container.store.open(each.key) as stream, (folder / "copy").open("wb") as out:
            shutil.copyfileobj(stream, out)
        bucket.put(each.key, folder / "copy")


@pytest.fixture
def restored(
    cluster: Place, postgres_home: tuple[Path, Path], postgres_server: str, tmp_path: Path
) -> Iterator[tuple[Place, Job]]:
    """Another database and another bucket, from a backup of a cluster that went on meanwhile."""
    running, binaries = cluster.populate(), postgres_home[1]
    dump = tmp_path / "headstart.dump"
    url = cluster.settings.database
    tool(binaries, "pg_dump", url, "--format=custom", "--no-owner", f"--file={dump}")
    cluster.go_on(running)
    assert cluster.problems() == []
    storage = cluster.settings.storage
    changes = {"bucket": f"{storage.bucket}-copy"}  # type: ignore[union-attr]
    there = storage.model_copy(update=changes)
    with contextlib.closing(S3Store(there)) as bucket:  # type: ignore[arg-type]
        bucket.create_bucket()
        copied(cluster, bucket, tmp_path)
    with fresh_database(postgres_server) as fresh:
        options = ("--no-owner", "--exit-on-error", "--single-transaction")
        database = f"--dbname={make_url(fresh).database}"
        tool(binaries, "pg_restore", fresh, *options, database, str(dump))
        with place(tmp_path / "after", database_url=fresh, storage=there) as made:
            yield made, running


@pytest.mark.services
@pytest.mark.slow
def test_a_cluster_is_restored_and_goes_on(restored: tuple[Place, Job]) -> None:
    after, running = restored
    for command in ("migrate", "restored", "verify", "doctor"):
        done = after.headstart(command)
        assert done.returncode == 0, done.stdout + done.stderr
    after.goes_on_as_it_was(running)
    # What the lost attempt and the lost upload left can be told from what is needed.
    collector.collect(after.container.sessions, after.container.store, grace_seconds=-60)
    left = {each.key for each in after.container.store.listing(keys.jobs(DEFAULT))}
    assert not any(key.startswith(keys.attempt(DEFAULT, running.id, 2, "")) for key in left)
    assert after.problems() == []


@pytest.mark.services
def test_without_being_told_a_restored_job_meets_files_of_the_lost_one(
    restored: tuple[Place, Job],
) -> None:
    after, running = restored
    with after.container.sessions.begin() as session:
        expire(session, running.id)
        jobs.reap(session, retry_delays=())
    after.finish(after.claim_this(running), b"the model after the restore ")
    assert {each.fault for each in after.problems()} == {verification.Fault.ALTERED}


@pytest.mark.services
def test_a_missing_and_an_altered_object_are_found(restored: tuple[Place, Job]) -> None:
    after, running = restored
    with after.container.sessions.read() as session:
        ((model,), _) = models.listing(session, limit=1)
        ((known,), _) = datasets.listing(session, limit=1)
    store = after.container.store
    missing, altered = keys.originals(DEFAULT, known.sha256), model.artifacts[0].key
    state = keys.attempt(DEFAULT, running.id, 1, "checkpoints/2.bin")
    store.delete([missing, altered, state])
    after.put(altered, b"something else")
    found = after.headstart("verify", "--json")
    assert found.returncode == 1
    problems = json.loads(found.stdout)["problems"]
    assert {(each["fault"], each["key"]) for each in problems} == {
        ("missing", missing),
        ("missing", state),
        ("altered", altered),
    }


def test_a_home_is_backed_up_while_it_is_in_use(tmp_path: Path, migrated_sqlite: Path) -> None:
    home = tmp_path / "before" / "home"
    home.mkdir(parents=True)
    shutil.copy(migrated_sqlite, home / "headstart.db")
    with place(tmp_path / "before") as before:
        running = before.populate()
        copy = tmp_path / "after" / "home"
        copy.mkdir(parents=True)
        with contextlib.closing(sqlite3.connect(home / "headstart.db")) as database:
            database.execute("VACUUM INTO ?", (str(copy / "headstart.db"),))
        before.go_on(running)
        shutil.copytree(home / "objects", copy / "objects")
    with place(tmp_path / "after") as after:
        for command in ("migrate", "restored", "verify"):
            done = after.headstart(command)
            assert done.returncode == 0, done.stdout + done.stderr
        after.goes_on_as_it_was(running)
        with contextlib.closing(sqlite3.connect(copy / "headstart.db")) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            with pytest.raises(sqlite3.IntegrityError, match="a finished job cannot change"):
                database.execute("UPDATE jobs SET stage = 'x' WHERE state = 'succeeded'")


def test_manifests_must_list_what_their_models_have(tmp_path: Path, migrated_sqlite: Path) -> None:
    (tmp_path / "home").mkdir()
    shutil.copy(migrated_sqlite, tmp_path / "home" / "headstart.db")
    with place(tmp_path) as here, here.container.sessions.begin() as session:
        made = dataset(session)
        here.put(keys.originals(DEFAULT, made.sha256), b"images")
        search, job = searches.submit_search(session, SearchSpec(made.id, EMBEDDER))
        key = keys.attempt(DEFAULT, job.id, 1, "model/manifest.json")
        models.register(
            session,
            search_id=search.id,
            dataset_id=made.id,
            genotype={},
            metrics={},
            artifacts=[
                Artifact("x", keys.originals(DEFAULT, made.sha256), sha256_of("x"), 6, "text")
            ],
            manifest_key=key,
            manifest_sha256=here.put(key, b"[]"),
        )
    with place(tmp_path) as here:
        faults = sorted(each.fault.value for each in here.problems())
    assert faults == ["altered", "manifest"]
