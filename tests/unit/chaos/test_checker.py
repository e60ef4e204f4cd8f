"""The judge finds nothing in a true history, and every crime that is planted in a false one."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy.orm import Session

from core.config import LocalStorage
from core.db.clock import now
from core.db.job_tables import JobEventRow, JobRow
from core.db.sessions import Sessions
from core.domain import keys
from core.domain.identity import DEFAULT
from core.domain.jobs import QUEUE_OF, JobId, JobKind, JobState
from core.domain.searches import Artifact, SearchSpec
from core.services import datasets, jobs, models, searches
from core.storage.local import LocalStore
from tests.chaos import checker, stores
from tests.chaos.checker import Kept, Rule, Violation
from tests.unit.services.samples import claimed, dataset, embedding, expire, queued

S = JobState
NEW, CLAIM = (None, S.QUEUED, 0), (S.QUEUED, S.RUNNING, 1)
DONE = (S.RUNNING, S.SUCCEEDED, 1)
Move = tuple[JobState | None, JobState, int]


def plant(
    session: Session,
    moves: Sequence[Move],
    *,
    state: JobState | None = None,
    fence: int | None = None,
    kind: JobKind = JobKind.EMBED,
    seqs: Sequence[int] = (),
    at: datetime | None = None,
    **row_terms: Any,
) -> UUID:
    """A job with a history as given, and a row that says what its last event says unless told."""
    at_end = state or (moves[-1][1] if moves else S.QUEUED)
    row = JobRow(
        kind=kind,
        queue=QUEUE_OF[kind],
        state=at_end,
        stage="planted",
        max_attempts=3,
        fence=moves[-1][2] if fence is None and moves else fence or 0,
        lease_until=now(60.0) if at_end is S.RUNNING else None,
        spec={},
        **row_terms,
    )
    session.add(row)
    session.flush()
    for seq, (origin, to, held) in zip(seqs or range(1, len(moves) + 1), moves, strict=True):
        event = JobEventRow(job_id=row.id, seq=seq, from_state=origin, to_state=to, fence=held)
        event.actor, event.reason = "test", "planted"
        if at is not None:
            event.at = at
        session.add(event)
    session.flush()
    return row.id


def judged(sessions: Sessions, **terms: object) -> tuple[Violation, ...]:
    with sessions.read() as session:
        return checker.check(session, **terms)  # type: ignore[arg-type]


def stored(store: LocalStore, folder: Path, key: str, content: bytes) -> Artifact:
    path = folder / "source"
    path.write_bytes(content)
    store.put(key, path)
    digest = hashlib.sha256(content).hexdigest()
    return Artifact(key.rsplit("/", 1)[1], key, digest, len(content), "text/plain")


def searched(session: Session, store: LocalStore, folder: Path) -> JobId:
    """A search that was queued, claimed and finished as the services do it."""
    # Any spec of a registered dataset; the content of its row is not judged.
    spec = SearchSpec(dataset(session).id, "oriented-energy@1")
    search, job = searches.submit_search(session, spec)
    taken = jobs.claim(session, queue=job.queue, owner="w", lease_seconds=60.0)
    assert taken is not None
    assert taken.id == job.id
    weights = stored(store, folder, keys.attempt(DEFAULT, job.id, 1, "model/weights"), b"weights")
    listed = json.dumps([asdict(weights)]).encode()
    manifest = stored(
        store, folder, keys.attempt(DEFAULT, job.id, 1, "model/manifest.json"), listed
    )
    models.register(
        session,
        search_id=search.id,
        dataset_id=search.dataset_id,
        genotype={},
        metrics={},
        artifacts=(weights,),
        manifest_key=manifest.key,
        manifest_sha256=manifest.sha256,
    )
    jobs.finish(session, job.id, taken.fence, {})
    return job.id


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "objects")


def kept(store: LocalStore, tmp_path: Path, *, leftovers: bool = False) -> Kept:
    return Kept(store, stores.keys(LocalStorage(root=tmp_path / "objects")), leftovers)


def test_a_true_history_is_clean(sessions: Sessions, store: LocalStore, tmp_path: Path) -> None:
    ids = []
    with sessions.begin() as session:
        ids.append(searched(session, store, tmp_path))
        ids.append(queued(session).id)
        drained = claimed(session)
        back = {"reason": "drained", "delay_seconds": 0.0, "charge": False}
        jobs.release(session, drained.id, drained.fence, **back)  # type: ignore[arg-type]
        lost = claimed(session)
        expire(session, lost.id)
        jobs.reap(session, retry_delays=(0.0,))
        jobs.cancel(session, lost.id)  # while it waits, after two claims
        ids.append(queued(session).id)
        failed = claimed(session)
        jobs.fail(session, failed.id, failed.fence, "diverged", "No.")
        ids.append(queued(session).id)
        stopped = claimed(session)
        jobs.cancel(session, stopped.id)
        jobs.mark_cancelled(session, stopped.id, stopped.fence)
    found = judged(sessions, kept=kept(store, tmp_path), accepted=ids, settled=True)
    assert found == ()


CRIMES: dict[str, tuple[set[Rule], dict[str, Any]]] = {
    "two successes": (
        {Rule.TWO_SUCCESSES, Rule.AFTER_THE_END, Rule.BROKEN_CHAIN},
        {"moves": [NEW, CLAIM, DONE, (S.QUEUED, S.RUNNING, 2), (S.RUNNING, S.SUCCEEDED, 2)]},
    ),
    "success without a run": (
        {Rule.ILLEGAL_MOVE},
        {"moves": [NEW, (S.QUEUED, S.SUCCEEDED, 0)]},
    ),
    "queued again after its end": (
        {Rule.ILLEGAL_MOVE, Rule.AFTER_THE_END},
        {"moves": [NEW, CLAIM, DONE, (S.SUCCEEDED, S.QUEUED, 1)]},
    ),
    "failed, then cancelled": (
        {Rule.AFTER_THE_END, Rule.BROKEN_CHAIN},
        {"moves": [NEW, CLAIM, (S.RUNNING, S.FAILED, 1), (S.RUNNING, S.CANCELLED, 1)]},
    ),
    "claimed twice at once": (
        {Rule.BROKEN_CHAIN},
        {"moves": [NEW, CLAIM, (S.QUEUED, S.RUNNING, 2)]},
    ),
    "no beginning": ({Rule.BROKEN_CHAIN}, {"moves": [CLAIM, DONE]}),
    "born running": ({Rule.BROKEN_CHAIN}, {"moves": [(None, S.RUNNING, 1)]}),
    "born twice": ({Rule.BROKEN_CHAIN}, {"moves": [NEW, NEW]}),
    "an event is missing": ({Rule.BROKEN_CHAIN}, {"moves": [NEW, CLAIM], "seqs": [1, 3]}),
    "no event": ({Rule.BROKEN_CHAIN}, {"moves": []}),
    "a fence used again": (
        {Rule.FENCE},
        {"moves": [NEW, CLAIM, (S.RUNNING, S.QUEUED, 1), CLAIM, DONE]},
    ),
    "a fence that falls": (
        {Rule.FENCE},
        {
            "moves": [
                NEW,
                (S.QUEUED, S.RUNNING, 5),
                (S.RUNNING, S.QUEUED, 5),
                (S.QUEUED, S.RUNNING, 4),
                (S.RUNNING, S.SUCCEEDED, 4),
            ]
        },
    ),
    "a stale worker commits": (
        {Rule.FENCE, Rule.ROW},
        {
            "moves": [
                NEW,
                CLAIM,
                (S.RUNNING, S.QUEUED, 1),
                (S.QUEUED, S.RUNNING, 2),
                (S.RUNNING, S.SUCCEEDED, 1),
            ],
            "fence": 2,
        },
    ),
    "a claim without a fence": ({Rule.FENCE}, {"moves": [NEW, (S.QUEUED, S.RUNNING, 0)]}),
    "the row moved in silence": ({Rule.ROW}, {"moves": [NEW, CLAIM], "state": S.FAILED}),
    "the fence rose in silence": ({Rule.ROW}, {"moves": [NEW, CLAIM], "fence": 7}),
    "success after a cancel": (
        {Rule.CANCEL},
        {"moves": [NEW, CLAIM, DONE], "cancel_requested": True},
    ),
    "none: drained, claimed again, done": (
        set(),
        {
            "moves": [
                NEW,
                CLAIM,
                (S.RUNNING, S.QUEUED, 1),
                (S.QUEUED, S.RUNNING, 2),
                (S.RUNNING, S.SUCCEEDED, 2),
            ]
        },
    ),
}


def test_every_planted_crime_is_named_and_no_other(sessions: Sessions) -> None:
    with sessions.begin() as session:
        planted = {name: plant(session, **terms) for name, (_, terms) in CRIMES.items()}
    found = judged(sessions)
    named = {
        name: {each.rule for each in found if each.job_id == job} for name, job in planted.items()
    }
    assert named == {name: rules for name, (rules, _) in CRIMES.items()}


def test_one_crime_is_one_violation(sessions: Sessions) -> None:
    with sessions.begin() as session:
        plant(session, [NEW, CLAIM], state=S.FAILED)
    (found,) = judged(sessions)
    assert "is failed, its last event says running" in str(found)


def test_a_job_nobody_knows_is_lost(sessions: Sessions) -> None:
    with sessions.begin() as session:
        there = plant(session, [NEW])
    gone = uuid4()
    (found,) = judged(sessions, accepted=[there, gone])
    assert (found.rule, found.job_id) == (Rule.LOST, gone)


def test_a_result_of_an_attempt_that_was_overtaken_is_stale(sessions: Sessions) -> None:
    again = [NEW, CLAIM, (S.RUNNING, S.QUEUED, 1), (S.QUEUED, S.RUNNING, 2)]
    with sessions.begin() as session:
        job = plant(session, [*again, (S.RUNNING, S.SUCCEEDED, 2)])
        of = dataset(session)
        for fence in (1, 2):
            key = keys.attempt(DEFAULT, JobId(job), fence, "answer.txt")
            made = replace(embedding(of, f"resnet18@{fence}"), key=key)
            datasets.record_embedding(session, made)
    (found,) = judged(sessions)
    assert (found.rule, found.job_id) == (Rule.STALE, job)
    assert "/a1/" in found.detail


def test_only_a_settled_system_owes_an_end(sessions: Sessions) -> None:
    with sessions.begin() as session:
        waits = plant(session, [NEW])
        plant(session, [NEW, CLAIM, DONE])
    assert judged(sessions) == ()
    (found,) = judged(sessions, settled=True)
    assert (found.rule, found.job_id) == (Rule.UNSETTLED, waits)


def grouped(session: Session, *ends: JobState) -> tuple[UUID, list[UUID]]:
    """A group whose children the services let end so, and the children."""
    group = jobs.submit(session, kind=JobKind.GROUP, spec={}, dataset_id=None)
    made = [queued(session, parent_id=group.id).id for _ in ends]
    for end in ends:
        child = claimed(session)
        if end is S.SUCCEEDED:
            jobs.finish(session, child.id, child.fence, {})
        elif end is S.FAILED:
            jobs.fail(session, child.id, child.fence, "diverged", "No.")
        else:
            jobs.cancel(session, child.id)
            jobs.mark_cancelled(session, child.id, child.fence)
    return group.id, made


def test_groups_that_the_services_end_are_clean(sessions: Sessions) -> None:
    with sessions.begin() as session:
        for ends in ([S.SUCCEEDED] * 3, [S.SUCCEEDED, S.FAILED, S.CANCELLED], [S.FAILED]):
            grouped(session, *ends)
        called_off, _ = grouped(session)
        for _ in range(2):
            queued(session, parent_id=called_off)
        jobs.cancel(session, called_off)
        goes_on = jobs.submit(session, kind=JobKind.GROUP, spec={}, dataset_id=None)
        for _ in range(2):
            queued(session, parent_id=goes_on.id)
        done = claimed(session)
        jobs.finish(session, done.id, done.fence, {})
    assert judged(sessions) == ()


SOON, LONG_AGO = datetime(2999, 1, 1, tzinfo=UTC), datetime(1999, 1, 1, tzinfo=UTC)
GROUP_CRIMES: dict[str, tuple[JobState, list[JobState], dict[str, Any], str | None]] = {
    "none: ended well": (S.SUCCEEDED, [S.SUCCEEDED] * 2, {"result": {"jobs": 2}}, None),
    "none: goes on": (S.RUNNING, [S.SUCCEEDED, S.RUNNING], {}, None),
    "success over a failure": (
        S.SUCCEEDED,
        [S.SUCCEEDED, S.FAILED],
        {"result": {"jobs": 2}},
        "1 of its 2 children have not",
    ),
    "a child too many": (S.SUCCEEDED, [S.SUCCEEDED], {"result": {"jobs": 2}}, "has 1 children"),
    "a failure too many": (
        S.FAILED,
        [S.SUCCEEDED, S.FAILED],
        {"error_message": "2 of 2 jobs did not succeed: both."},
        "1 of 2 did not succeed",
    ),
    "failed without a word": (S.FAILED, [S.FAILED], {}, "1 of 1 did not succeed"),
    "cancelled unasked": (S.CANCELLED, [S.CANCELLED], {}, "nobody asked"),
    "never settled": (S.RUNNING, [S.SUCCEEDED, S.FAILED], {}, "all its 2 children have ended"),
    "settled with the first": (
        S.SUCCEEDED,
        [S.SUCCEEDED, S.RUNNING],
        {"result": {"jobs": 2}},
        "1 of its children have not ended",
    ),
    "settled before the last": (
        S.SUCCEEDED,
        [S.SUCCEEDED],
        {"result": {"jobs": 1}, "at": LONG_AGO},
        "ended before its children did",
    ),
    "another cost": (
        S.SUCCEEDED,
        [S.SUCCEEDED],
        {"result": {"jobs": 1}, "cost_seconds": 3.0},
        "cost 3.0 s, its children 0.0 s",
    ),
}


@pytest.mark.parametrize("name", GROUP_CRIMES)
def test_a_group_that_does_not_fit_its_children_is_named(sessions: Sessions, name: str) -> None:
    end, children, terms, words = GROUP_CRIMES[name]

    def until(state: JobState) -> list[Move]:
        return [NEW, CLAIM, *([] if state is S.RUNNING else [(S.RUNNING, state, 1)])]

    with sessions.begin() as session:
        group = plant(session, until(end), kind=JobKind.GROUP, **{"at": SOON} | terms)
        for each in children:
            plant(session, until(each), parent_id=group)
    found = judged(sessions)
    assert {(each.rule, each.job_id) for each in found} == (
        {(Rule.GROUP, group)} if words else set()
    )
    assert words is None or any(words in each.detail for each in found), found


def test_a_parent_that_is_no_group_is_named(sessions: Sessions) -> None:
    with sessions.begin() as session:
        parent = plant(session, [NEW])
        child = plant(session, [NEW], parent_id=parent)
    (found,) = judged(sessions)
    assert (found.rule, found.job_id) == (Rule.GROUP, child)


def damaged(store: LocalStore, root: Path, job: JobId, name: str, content: bytes | None) -> None:
    """Change a stored object behind the store's back, or take it away."""
    path = root / keys.attempt(DEFAULT, job, 1, f"model/{name}")
    path.unlink()
    if content is not None:
        path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("manifest.json", None, "manifest.json: There is no such object"),
        ("manifest.json", b"[]", "manifest.json is not what its row says"),
        ("weights", None, "weights: There is no such object"),
        ("weights", b"Weights", "weights is not what its row says"),
    ],
)
def test_a_result_that_cannot_be_read_is_named(
    sessions: Sessions,
    store: LocalStore,
    tmp_path: Path,
    name: str,
    content: bytes | None,
    words: str,
) -> None:
    with sessions.begin() as session:
        job = searched(session, store, tmp_path)
    assert judged(sessions, kept=kept(store, tmp_path)) == ()
    damaged(store, tmp_path / "objects", job, name, content)
    (found,) = judged(sessions, kept=kept(store, tmp_path))
    assert (found.rule, found.job_id) == (Rule.MANIFEST, job)
    assert words in found.detail


def registered(
    session: Session, job_id: UUID, artifacts: Sequence[Artifact], manifest: Artifact
) -> None:
    """A model for the search of a planted job."""
    spec = SearchSpec(dataset(session).id, "oriented-energy@1")
    search = searches.SearchRow(dataset_id=spec.dataset_id, job_id=job_id, spec={})
    session.add(search)
    session.flush()
    models.register(
        session,
        search_id=search.to_domain(None).id,
        dataset_id=spec.dataset_id,
        genotype={},
        metrics={},
        artifacts=artifacts,
        manifest_key=manifest.key,
        manifest_sha256=manifest.sha256,
    )


@pytest.mark.parametrize(
    ("listed", "size", "words"),
    [
        (b"[]", 1, "the manifest lists other files than the row"),
        (b"{", 1, "Expecting property name"),
        (None, 2, "has another size"),
    ],
)
def test_a_manifest_that_disagrees_with_its_row_is_named(
    sessions: Sessions,
    store: LocalStore,
    tmp_path: Path,
    listed: bytes | None,
    size: int,
    words: str,
) -> None:
    with sessions.begin() as session:
        job = JobId(plant(session, [NEW, CLAIM, DONE], kind=JobKind.SEARCH))
        file = stored(store, tmp_path, keys.attempt(DEFAULT, job, 1, "model/weights"), b"w")
        file = Artifact(file.name, file.key, file.sha256, size, file.media_type)
        content = listed or json.dumps([asdict(file)]).encode()
        manifest = stored(
            store, tmp_path, keys.attempt(DEFAULT, job, 1, "model/manifest.json"), content
        )
        registered(session, job, [file], manifest)
    (found,) = judged(sessions, kept=kept(store, tmp_path))
    assert (found.rule, found.job_id) == (Rule.MANIFEST, job)
    assert words in found.detail


def test_a_success_without_a_model_and_a_model_without_a_success(
    sessions: Sessions, store: LocalStore, tmp_path: Path
) -> None:
    with sessions.begin() as session:
        bare = plant(session, [NEW, CLAIM, DONE], kind=JobKind.SEARCH)
        early = JobId(plant(session, [NEW, CLAIM], kind=JobKind.SEARCH))
        key = keys.attempt(DEFAULT, early, 1, "model/manifest.json")
        registered(session, early, [], stored(store, tmp_path, key, b"[]"))
    found = {(each.rule, each.job_id) for each in judged(sessions, kept=kept(store, tmp_path))}
    assert found == {(Rule.MANIFEST, bare), (Rule.UNCOMMITTED, early)}


def test_manifests_that_no_row_knows_are_named(
    sessions: Sessions, store: LocalStore, tmp_path: Path
) -> None:
    with sessions.begin() as session:
        done = searched(session, store, tmp_path)
        waits = JobId(plant(session, [NEW, CLAIM, (S.RUNNING, S.QUEUED, 1)]))
    nobody = JobId(uuid4())
    overtaken = keys.attempt(DEFAULT, waits, 1, "model/manifest.json")
    wrong = [
        keys.attempt(DEFAULT, waits, 2, "model/manifest.json"),  # an attempt that never was
        keys.attempt(DEFAULT, done, 2, "model/manifest.json"),
        keys.attempt(DEFAULT, nobody, 1, "model/manifest.json"),
    ]
    for key in (overtaken, *wrong, keys.attempt(DEFAULT, waits, 1, "checkpoints/1.safetensors")):
        stored(store, tmp_path, key, b"[]")
    every = judged(sessions, kept=kept(store, tmp_path))
    assert {each.rule for each in every} == {Rule.UNKNOWN_MANIFEST}
    assert {each.detail for each in every} == {overtaken, *wrong}
    excused = judged(sessions, kept=kept(store, tmp_path, leftovers=True))
    assert {each.detail for each in excused} == set(wrong)


def test_half_written_files_have_no_key(store: LocalStore, tmp_path: Path) -> None:
    stored(store, tmp_path, "a/b", b"x")
    (tmp_path / "objects" / "a" / ".partial-1").write_bytes(b"y")
    assert stores.keys(LocalStorage(root=tmp_path / "objects")) == ("a/b",)
