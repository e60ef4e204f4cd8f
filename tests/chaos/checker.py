"""An independent judge: reads what the database and the store kept and names every broken promise.

It trusts nothing that the services say: only rows, events and bytes, once all is quiet.
"""

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import groupby, pairwise
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db.dataset_tables import EmbeddingRow
from core.db.job_tables import JobEventRow, JobRow
from core.db.result_tables import ModelRow, SearchRow
from core.domain.jobs import REACHABLE_FROM, TERMINAL, JobKind, JobState
from core.errors import AppError
from core.ports import ObjectStore
from tests.chaos import group_rules

MANIFEST = re.compile(r"[^/]+/jobs/(?P<job>[0-9a-f-]{36})/a(?P<fence>\d+)/model/manifest\.json")
WRITTEN = re.compile(r"[^/]+/jobs/(?P<job>[0-9a-f-]{36})/a(?P<fence>\d+)/.*")
CHUNK_BYTES = 1 << 20


class Rule(StrEnum):
    """What was promised."""

    LOST = "an accepted job is in the database"
    UNSETTLED = "when all is quiet every job has ended"
    TWO_SUCCESSES = "a job succeeds once"
    ILLEGAL_MOVE = "a job moves along the table of moves only"
    BROKEN_CHAIN = "each move begins where the one before it ended, and none is missing"
    FENCE = "each claim has a higher fence than all before it, and no move an older one"
    AFTER_THE_END = "nothing happens to a job that has ended"
    ROW = "a job's row says what its last event says"
    CANCEL = "a job that was asked to stop does not succeed"
    MANIFEST = "a succeeded search has a readable manifest of readable files"
    UNCOMMITTED = "only a succeeded search has a model"
    STALE = "what a job left is of the attempt that ended it"
    UNKNOWN_MANIFEST = "every manifest in the store is a row's"
    GROUP = "a group ends with the last of its children, and says how they ended"


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken promise."""

    rule: Rule
    job_id: UUID | None
    detail: str

    def __str__(self) -> str:
        return f"{self.rule.name} {self.job_id or ''}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Kept:
    """The object store and the keys in it.

    With `leftovers` the manifests of attempts that were overtaken are let pass: they are waste
    until the next collection, and no row shows them.
    """

    store: ObjectStore
    keys: Collection[str] = ()
    leftovers: bool = False


def check(
    session: Session,
    *,
    kept: Kept | None = None,
    accepted: Iterable[UUID] = (),
    settled: bool = False,
) -> tuple[Violation, ...]:
    """Every violation, those of one job together.

    `accepted` are the jobs whose submission was answered; with `settled` all must have ended.
    """
    session.expire_all()  # what the database says, not what this session saw before
    rows = {row.id: row for row in session.scalars(select(JobRow).order_by(JobRow.created_at))}
    found = [Violation(Rule.LOST, each, "no row") for each in accepted if each not in rows]
    statement = select(JobEventRow).order_by(JobEventRow.job_id, JobEventRow.seq)
    events = session.scalars(statement).all()
    by_job = {job: list(moves) for job, moves in groupby(events, key=lambda each: each.job_id)}
    for row in rows.values():
        found += _history(row, by_job.get(row.id, []))
        if settled and row.state not in TERMINAL:
            found.append(Violation(Rule.UNSETTLED, row.id, f"still {row.state}"))
    found += [Violation(Rule.GROUP, *each) for each in group_rules.faults(rows, by_job)]
    found += _stale(session, rows)
    if kept is not None:
        found += _results(session, rows, kept)
    return tuple(found)


def _history(row: JobRow, moves: Sequence[JobEventRow]) -> Iterator[Violation]:
    def broken(rule: Rule, detail: str) -> Violation:
        return Violation(rule, row.id, detail)

    successes = sum(each.to_state is JobState.SUCCEEDED for each in moves)
    if successes > 1:
        yield broken(Rule.TWO_SUCCESSES, f"{successes} events say succeeded")
    if row.state is JobState.SUCCEEDED and row.cancel_requested:
        yield broken(Rule.CANCEL, "succeeded although it was asked to stop")
    for rule, detail in (*_moves(moves), *_fences(moves), *_row(row, moves)):
        yield broken(rule, detail)


def _moves(moves: Sequence[JobEventRow]) -> Iterator[tuple[Rule, str]]:
    for place, each in enumerate(moves, 1):
        if each.seq != place:
            yield Rule.BROKEN_CHAIN, f"event {each.seq} where {place} is due"
            return
    for each in moves:
        first = each.seq == 1
        legal = each.from_state in REACHABLE_FROM[each.to_state]
        if first != (each.from_state is None) or (first and each.to_state is not JobState.QUEUED):
            yield Rule.BROKEN_CHAIN, f"{_said(each)} as event {each.seq}"
        elif not first and not legal:
            yield Rule.ILLEGAL_MOVE, _said(each)
    for before, after in pairwise(moves):
        if before.to_state in TERMINAL:
            yield Rule.AFTER_THE_END, f"{_said(after)} after {before.to_state}"
        if after.from_state is not None and after.from_state is not before.to_state:
            yield Rule.BROKEN_CHAIN, f"{_said(after)} after {before.to_state}"


def _fences(moves: Sequence[JobEventRow]) -> Iterator[tuple[Rule, str]]:
    newest = 0
    for each in moves:
        claim = each.to_state is JobState.RUNNING
        if claim and each.fence <= newest:
            yield Rule.FENCE, f"claimed with fence {each.fence} after {newest}"
        if not claim and each.fence != newest:
            yield Rule.FENCE, f"{_said(each)} with fence {each.fence} under {newest}"
        newest = max(newest, each.fence)


def _row(row: JobRow, moves: Sequence[JobEventRow]) -> Iterator[tuple[Rule, str]]:
    if not moves:
        yield Rule.BROKEN_CHAIN, "no event at all"
        return
    last = moves[-1]
    if row.state is not last.to_state:
        yield Rule.ROW, f"is {row.state}, its last event says {last.to_state}"
    if row.fence != last.fence:
        yield Rule.ROW, f"has fence {row.fence}, its last event {last.fence}"


def _said(event: JobEventRow) -> str:
    return f"{event.from_state or 'nothing'} to {event.to_state}"


def _stale(session: Session, rows: Mapping[UUID, JobRow]) -> Iterator[Violation]:
    """Results whose key names another attempt than the one that holds, or held, the job."""
    models, embeddings = select(ModelRow.manifest_key), select(EmbeddingRow.key)
    for key in (*session.scalars(models), *session.scalars(embeddings)):
        match = WRITTEN.fullmatch(key)
        row = rows.get(UUID(match["job"])) if match else None
        if match and (row is None or row.fence != int(match["fence"])):
            yield Violation(Rule.STALE, UUID(match["job"]), key)


def _results(session: Session, rows: Mapping[UUID, JobRow], kept: Kept) -> Iterator[Violation]:
    found = select(SearchRow.job_id, ModelRow).join(ModelRow, ModelRow.search_id == SearchRow.id)
    models: dict[UUID, ModelRow] = {each[0]: each[1] for each in session.execute(found)}
    for row in rows.values():
        succeeded = row.kind is JobKind.SEARCH and row.state is JobState.SUCCEEDED
        model = models.get(row.id)
        if succeeded and model is None:
            yield Violation(Rule.MANIFEST, row.id, "no model")
        if not succeeded and model is not None:
            yield Violation(Rule.UNCOMMITTED, row.id, f"{row.state}, but has a model")
        if model is not None and (fault := _unreadable(kept.store, model)):
            yield Violation(Rule.MANIFEST, row.id, fault)
    known = {model.manifest_key for model in models.values()}
    for key in kept.keys:
        match = MANIFEST.fullmatch(key)
        if match is None or key in known:
            continue
        row_or_none = rows.get(UUID(match["job"]))
        if not (kept.leftovers and _overtaken(row_or_none, int(match["fence"]))):
            yield Violation(Rule.UNKNOWN_MANIFEST, UUID(match["job"]), key)


def _overtaken(row: JobRow | None, fence: int) -> bool:
    """Whether an attempt of that fence can have been, and is not the one that counts."""
    if row is None or not 1 <= fence <= row.fence:
        return False
    return fence < row.fence or row.state is not JobState.SUCCEEDED


def _unreadable(store: ObjectStore, model: ModelRow) -> str | None:
    """What a reader of the model would stumble over, if anything."""
    try:
        content = _bytes(store, model.manifest_key, model.manifest_sha256)
        listed = json.loads(content)
        if listed != [asdict(each) for each in model.artifacts]:
            return "the manifest lists other files than the row"
        for each in model.artifacts:
            if len(_bytes(store, each.key, each.sha256)) != each.size:
                return f"{each.key} has another size"
    except ValueError as error:
        return str(error)
    return None


def _bytes(store: ObjectStore, key: str, sha256: str) -> bytes:
    content = bytearray()
    try:
        with store.open(key) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                content += chunk
    except AppError as error:
        raise ValueError(f"{key}: {error.message}") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError(f"{key} is not what its row says")
    return bytes(content)
