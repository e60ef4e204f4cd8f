"""What may be deleted: the rows of spent checkpoints, and files that no row names or will name.

Nothing is judged by its age alone. A running job's current attempt may write and name its files at
any time, so they are never garbage; every other attempt can no longer commit (its fence is stale,
or its job has ended), so what no row names then stays unnamed for ever.

Only what attempts write is looked at. Datasets, embeddings and imported supernets are keyed by
their content: a `put` that finds one there believes it, so none is ever taken away but with its
dataset (`core.execution.deletion`).
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import delete, func, or_, select, tuple_
from sqlalchemy.orm import Session

from core.db.clock import now
from core.db.dataset_tables import EmbeddingRow
from core.db.identity_tables import ProjectRow
from core.db.job_tables import CheckpointRow, JobRow
from core.db.result_tables import ModelRow, PruningRow, SearchRow, SupernetRow
from core.domain import keys
from core.domain.identity import ProjectId
from core.domain.jobs import TERMINAL, JobState

KEPT = 2  # checkpoints of an attempt, and attempts with checkpoints: the newest may be corrupt
AT_ONCE = 500  # rows or keys that one transaction looks at


@dataclass(frozen=True, slots=True)
class Spent:
    """A checkpoint that nobody will resume from."""

    job_id: UUID
    fence: int
    step: int
    key: str
    size: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to become of some keys; those in neither are kept."""

    garbage: frozenset[str]
    unknown: frozenset[str]  # of jobs that this database has never heard of


def spent(
    session: Session, *, ended_seconds: float | None, limit: int | None = AT_ONCE
) -> tuple[Spent, ...]:
    """Checkpoints that newer ones have replaced, and those of jobs that ended so long ago.

    With `ended_seconds` None ended jobs keep theirs.
    """
    row = CheckpointRow
    newer = func.row_number().over(partition_by=(row.job_id, row.fence), order_by=row.step.desc())
    later = func.dense_rank().over(partition_by=row.job_id, order_by=row.fence.desc())
    named = (row.job_id, row.fence, row.step, row.key, row.size)
    live = JobRow.state.not_in(TERMINAL)
    ranked = (
        select(*named, newer.label("newer"), later.label("later"))
        .join(JobRow, JobRow.id == row.job_id)
        .where(live)
        .subquery()
    )
    columns = [ranked.c[column.key] for column in named]
    replaced = select(*columns).where(or_(ranked.c.newer > KEPT, ranked.c.later > KEPT))
    found = [Spent(*each) for each in session.execute(replaced.limit(limit))]
    if ended_seconds is not None:
        over = JobRow.finished_at < now(-ended_seconds)
        ended = select(*named).join(JobRow, JobRow.id == row.job_id).where(~live, over)
        found += [Spent(*each) for each in session.execute(ended.limit(limit))]
    return tuple(found)


def forget(session: Session, checkpoints: Sequence[Spent]) -> None:
    """Delete their rows. Their objects come after the commit: no row ever names what is gone."""
    row = CheckpointRow
    which = [(each.job_id, each.fence, each.step) for each in checkpoints]
    for start in range(0, len(which), AT_ONCE):
        these = tuple_(row.job_id, row.fence, row.step).in_(which[start : start + AT_ONCE])
        session.execute(delete(row).where(these))


def projects(session: Session) -> tuple[ProjectId, ...]:
    """All there are: whatever a project stores lies in its own folders."""
    return tuple(map(ProjectId, session.scalars(select(ProjectRow.id))))


def judge(session: Session, found: Collection[str]) -> Verdict:
    """Which of these keys under `keys.jobs` no row names, and no attempt can come to name."""
    attempts = {key: attempt for key in found if (attempt := keys.attempt_of(key)) is not None}
    ids = {job_id for job_id, _ in attempts.values()}
    # The jobs first: what a job that has ended by now made is seen by every later statement.
    states = _states(session, ids)
    named = _named(session, ids, attempts)
    unknown = {key for key in found if key not in attempts or attempts[key][0] not in states}
    garbage = {
        key
        for key, (job_id, fence) in attempts.items()
        if key not in named and key not in unknown and not _open(*states[job_id], fence)
    }
    return Verdict(frozenset(garbage), frozenset(unknown))


def _open(state: JobState, current: int, fence: int) -> bool:
    """Whether the attempt with this fence may still come to name a file, or begin to write."""
    if state in TERMINAL:
        return False
    return fence > current or (fence == current and state is JobState.RUNNING)


def _states(session: Session, ids: Iterable[UUID]) -> dict[UUID, tuple[JobState, int]]:
    rows = session.execute(select(JobRow.id, JobRow.state, JobRow.fence).where(JobRow.id.in_(ids)))
    return {job_id: (state, fence) for job_id, state, fence in rows}


def _named(session: Session, ids: Iterable[UUID], found: Iterable[str]) -> set[str]:
    named: set[str] = set()
    for column, which in (
        (SupernetRow.key, SupernetRow.key.in_(found)),
        (EmbeddingRow.key, EmbeddingRow.key.in_(found)),
        (CheckpointRow.key, CheckpointRow.job_id.in_(ids)),
    ):
        named.update(session.scalars(select(column).where(which)))
    models = (
        select(ModelRow.artifacts, ModelRow.manifest_key)
        .join(SearchRow, SearchRow.id == ModelRow.search_id)
        .where(SearchRow.job_id.in_(ids))
    )
    prunings = select(PruningRow.artifacts, PruningRow.manifest_key).where(
        PruningRow.job_id.in_(ids), PruningRow.manifest_key.is_not(None)
    )
    for statement in (models, prunings):
        for artifacts, manifest_key in session.execute(statement):
            named.update(each.key for each in artifacts)
            named.add(str(manifest_key))
    return named
