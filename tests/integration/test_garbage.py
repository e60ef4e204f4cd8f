"""Any history of jobs and attempts, on both stores: nothing named is lost, nothing else stays."""

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db.job_tables import CheckpointRow, JobRow
from core.db.result_tables import ModelRow, SupernetRow
from core.db.sessions import Sessions
from core.domain import keys
from core.domain.identity import DEFAULT
from core.domain.jobs import TERMINAL, Checkpoint, JobId, JobState, QueueName
from core.domain.searches import Artifact, SearchSpec
from core.errors import IllegalTransition, LeaseLost
from core.execution import collector
from core.execution.collector import Finding, Kind
from core.ports import Heard, ObjectStore, Stored, Unfinished, unheard
from core.services import jobs, models, moves, searches, supernets
from core.storage.local import LocalStore
from core.storage.s3 import S3Store
from tests.unit.services.samples import EMBEDDER, dataset, expire

DAY = 24 * 3600.0


class Killed(BaseException):
    """What a `kill -9` looks like from inside a test."""


@dataclass
class AgedStore:
    """A store whose objects are as old as the test says, and which is told of each deletion."""

    inner: ObjectStore
    present: set[str] = field(default_factory=set)
    old: set[str] = field(default_factory=set)
    before_delete: Callable[[], None] = lambda: None

    def put(self, key: str, source: Path, *, heard: Heard = unheard) -> None:
        self.inner.put(key, source, heard=heard)
        self.present.add(key)

    def open(self, key: str) -> BinaryIO:
        return self.inner.open(key)

    def exists(self, key: str) -> bool:
        return self.inner.exists(key)

    def check(self) -> None:
        self.inner.check()

    def listing(self, folder: str) -> Iterator[Stored]:
        for each in self.inner.listing(folder):
            days = -2 if each.key in self.old else 1
            yield replace(each, modified=datetime.now(UTC) + timedelta(days=days))

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.before_delete()
            self.inner.delete([key])
            self.present.discard(key)

    def unfinished(self) -> Iterator[Unfinished]:
        return self.inner.unfinished()

    def discard(self, unfinished: Unfinished) -> None:
        self.inner.discard(unfinished)


@dataclass
class Worker:
    """One attempt, as its supervisor and child see it; it may have lost its lease unawares."""

    job_id: JobId
    fence: int
    files: list[str] = field(default_factory=list)
    steps: int = 0


class Histories(RuleBasedStateMachine):
    """What clients, workers, sweepers and collectors do, in any order."""

    sessions: Sessions
    store: AgedStore
    source: Path

    def __init__(self) -> None:
        super().__init__()
        self.workers: list[Worker] = []
        with self.sessions.begin() as session:
            self.dataset = dataset(session).id

    def teardown(self) -> None:
        """End every job, collect once more, and compare with what is really in the store."""
        with self.sessions.begin() as session:
            for row in session.scalars(select(JobRow).where(JobRow.state.not_in(TERMINAL))).all():
                job = jobs.cancel(session, row.id)
                if job.state is JobState.RUNNING:
                    jobs.mark_cancelled(session, job.id, job.fence)
        self.grow_old()
        self.collect(0.0)
        assert {each.key for each in self.store.inner.listing("")} == self.store.present
        assert self.store.present == self.named()

    @initialize()
    def begin(self) -> None:
        """Two jobs that have come some way."""
        for who in range(2):
            self.submit_and_claim()
            self.checkpoint(0, 3, True)
            self.write(who)

    @rule()
    def submit_and_claim(self) -> None:
        with self.sessions.begin() as session:
            searches.submit_search(session, SearchSpec(self.dataset, EMBEDDER))
        self.claim()

    @rule()
    def claim(self) -> None:
        with self.sessions.begin() as session:
            terms: dict[str, Any] = {"owner": "w", "lease_seconds": 600.0}
            job = jobs.claim(session, queue=QueueName.GPU, **terms)
        if job is not None:
            self.workers.append(Worker(job.id, job.fence))

    @rule(who=st.integers(0, 9), many=st.integers(2, 4), told=st.sampled_from((True, True, False)))
    def checkpoint(self, who: int, many: int, told: bool) -> None:
        if (worker := self.worker(who)) is None:
            return
        for _ in range(many):
            worker.steps += 1
            key = keys.attempt(
                DEFAULT, worker.job_id, worker.fence, f"checkpoints/{worker.steps}.bin"
            )
            self.store.put(key, self.source)
            made = Checkpoint(worker.fence, worker.steps, key, "0" * 64, 7)
            if told:
                self.as_holder(lambda s, made=made: add_checkpoint(s, worker, made))

    @rule(who=st.integers(0, 9))
    def write(self, who: int) -> None:
        if (worker := self.worker(who)) is None:
            return
        name = f"model/{len(worker.files)}"
        worker.files.append(keys.attempt(DEFAULT, worker.job_id, worker.fence, name))
        self.store.put(worker.files[-1], self.source)

    @rule(who=st.integers(0, 9), contributes=st.booleans())
    def finish(self, who: int, contributes: bool) -> None:
        worker = self.worker(who)
        if worker is not None and worker.files:
            self.as_holder(lambda s: succeed(s, worker, contributes=contributes))

    @rule(who=st.integers(0, 9), end=st.sampled_from(("fail", "drain", "reap", "cancel")))
    def end_otherwise(self, who: int, end: str) -> None:
        if (worker := self.worker(who)) is not None:
            self.as_holder(lambda s: END[end](s, worker))

    @rule()
    def grow_old(self) -> None:
        self.store.old |= self.store.present

    @rule(grace=st.sampled_from((0.0, DAY)))
    def collect(self, grace: float) -> None:
        before, young = self.store.present.copy(), self.store.present - self.store.old
        needed = self.named() | self.open()
        found = self.collected(grace, dry_run=True)
        assert self.store.present == before
        replaced = {each.key for each in found if each.kind is Kind.CHECKPOINT}
        assert {each.key: each.size for each in self.collected(grace)}.items() >= {
            each.key: each.size for each in found
        }.items()
        assert self.store.present & self.store.old <= needed
        assert before & needed - replaced <= self.store.present
        assert young - replaced <= self.store.present

    @rule(grace=st.sampled_from((0.0, DAY)), after=st.integers(0, 3))
    def collect_and_be_killed(self, grace: float, after: int) -> None:
        with self.interrupting(after, self.kill), contextlib.suppress(Killed):
            self.collected(grace)

    @rule(
        grace=st.sampled_from((0.0, DAY)),
        after=st.integers(0, 3),
        who=st.integers(0, 9),
        act=st.sampled_from(("checkpoint", "write", "finish", "claim", "reap")),
    )
    def collect_beside(self, grace: float, after: int, who: int, act: str) -> None:
        acts: dict[str, Callable[[], None]] = {
            "checkpoint": lambda: self.checkpoint(who, 2, True),
            "write": lambda: self.write(who),
            "finish": lambda: self.finish(who, True),
            "claim": self.claim,
            "reap": lambda: self.end_otherwise(who, "reap"),
        }
        with self.interrupting(after, acts[act]):
            self.collected(grace)

    @rule()
    def prune(self) -> None:
        collector.prune(self.sessions, self.store)
        with self.sessions.read() as session:
            live = select(CheckpointRow).join(JobRow).where(JobRow.state.not_in(TERMINAL))
            kept: dict[Any, dict[int, int]] = {}
            for row in session.scalars(live):
                of_job = kept.setdefault(row.job_id, {})
                of_job[row.fence] = of_job.get(row.fence, 0) + 1
        assert all(len(each) <= 2 and max(each.values()) <= 2 for each in kept.values())

    @invariant()
    def what_a_row_names_is_there(self) -> None:
        assert self.named() <= self.store.present

    @invariant()
    def a_live_job_can_resume_from_its_newest(self) -> None:
        with self.sessions.read() as session:
            for worker in self.workers:
                if jobs.get(session, worker.job_id).finished:
                    continue
                told = jobs.checkpoints(session, worker.job_id)
                newest = TOLD.get(worker.job_id)
                assert newest is None or (told[0].fence, told[0].step) >= newest

    def collected(self, grace: float, *, dry_run: bool = False) -> list[Finding]:
        found: list[Finding] = []
        terms: dict[str, Any] = {"grace_seconds": grace, "dry_run": dry_run}
        collector.collect(self.sessions, self.store, tell=found.append, **terms)
        return found

    @contextlib.contextmanager
    def interrupting(self, after: int, act: Callable[[], None]) -> Iterator[None]:
        """Do something before one of the deletions."""
        left = [after]

        def before_delete() -> None:
            left[0] -= 1
            if left[0] == -1:
                act()

        self.store.before_delete = before_delete
        try:
            yield
        finally:
            self.store.before_delete = lambda: None

    def kill(self) -> None:
        raise Killed

    def worker(self, who: int) -> Worker | None:
        """One of the last, who are the likeliest to hold a lease."""
        return self.workers[-1 - who % len(self.workers)] if self.workers else None

    def as_holder(self, act: Callable[[Session], object]) -> None:
        with (
            contextlib.suppress(LeaseLost, IllegalTransition),
            self.sessions.begin() as session,
        ):
            act(session)

    def named(self) -> set[str]:
        """Every key in any row."""
        with self.sessions.read() as session:
            found = set(session.scalars(select(CheckpointRow.key)))
            found |= set(session.scalars(select(SupernetRow.key)))
            for row in session.scalars(select(ModelRow)):
                found |= {row.manifest_key, *(each.key for each in row.artifacts)}
        return found

    def open(self) -> set[str]:
        """What the current attempts of running jobs have written."""
        with self.sessions.read() as session:
            running = select(JobRow).where(JobRow.state == JobState.RUNNING)
            starts = tuple(
                keys.attempt(DEFAULT, JobId(row.id), row.fence, "")
                for row in session.scalars(running)
            )
        return {key for key in self.store.present if starts and key.startswith(starts)}


TOLD: dict[JobId, tuple[int, int]] = {}


def add_checkpoint(session: Session, worker: Worker, made: Checkpoint) -> None:
    jobs.add_checkpoint(session, worker.job_id, worker.fence, made)
    TOLD[worker.job_id] = (made.fence, made.step)


def succeed(session: Session, worker: Worker, *, contributes: bool) -> None:
    moves.held(session, worker.job_id, worker.fence)
    *files, manifest = worker.files
    search = searches.by_job(session, worker.job_id)
    named = [Artifact(key.rsplit("/", 1)[1], key, "0" * 64, 7, "text/plain") for key in files]
    models.register(
        session,
        search_id=search.id,
        dataset_id=search.dataset_id,
        genotype={},
        metrics={},
        artifacts=named[1:] if contributes else named,
        manifest_key=manifest,
        manifest_sha256="0" * 64,
    )
    if contributes and files:
        supernets.register(
            session,
            name="contributed",
            dataset_id=search.dataset_id,
            job_id=worker.job_id,
            space={},
            resolution=16,
            key=files[0],
            sha256=hashlib.sha256(files[0].encode()).hexdigest(),
            metrics={},
            seconds=1.0,
            lineage={},
        )
    jobs.finish(session, worker.job_id, worker.fence, {})


def reap(session: Session, worker: Worker) -> None:
    if jobs.get(session, worker.job_id).state is JobState.RUNNING:
        expire(session, worker.job_id)
        jobs.reap(session, retry_delays=())


def drain(session: Session, worker: Worker) -> None:
    terms: dict[str, Any] = {"reason": "drained", "delay_seconds": 0.0, "charge": False}
    jobs.release(session, worker.job_id, worker.fence, **terms)


def cancel(session: Session, worker: Worker) -> None:
    if jobs.cancel(session, worker.job_id).state is JobState.RUNNING:
        jobs.mark_cancelled(session, worker.job_id, worker.fence)


END: dict[str, Callable[[Session, Worker], object]] = {
    "fail": lambda s, w: jobs.fail(s, w.job_id, w.fence, "diverged", "It diverged."),
    "drain": drain,
    "reap": reap,
    "cancel": cancel,
}


@pytest.fixture
def store(
    request: pytest.FixtureRequest, database_url: str, tmp_path: Path
) -> Iterator[AgedStore]:
    """Local files beside SQLite, a bucket beside PostgreSQL."""
    if database_url.startswith("sqlite"):
        yield AgedStore(LocalStore(tmp_path / "objects"))
        return
    with contextlib.closing(S3Store(request.getfixturevalue("s3_storage"))) as s3:
        yield AgedStore(s3)


def test_any_history(sessions: Sessions, store: AgedStore, tmp_path: Path) -> None:
    Histories.sessions, Histories.store = sessions, store
    Histories.source = tmp_path / "source"
    Histories.source.write_bytes(b"payload")
    local = isinstance(store.inner, LocalStore)
    run_state_machine_as_test(
        Histories,
        settings=settings(
            max_examples=12 if local else 3,
            stateful_step_count=25 if local else 15,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
