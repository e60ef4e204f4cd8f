"""Takes away what nothing needs any more, beside running workers and under a kill at any moment.

Rows go before the objects they name, in transactions of their own. Killed in between, an object is
left that no row names: the next round finds it by its key. The other order would leave rows that
name nothing.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import chain, islice
from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db import locks
from core.db.clock import now
from core.db.sessions import Sessions
from core.domain import keys
from core.domain.identity import ProjectId
from core.errors import Conflict, NotFound
from core.execution import deletion
from core.ports import ObjectStore
from core.services import garbage, idempotency, outbox, scrubbing, tombstones, uploads

GRACE_SECONDS = 24 * 3600.0
EVERY_SECONDS = 3600.0  # where this collects by itself
SCRUB_SECONDS = 7 * 24 * 3600.0  # that rankings are looked through after a deletion
STOP_SECONDS = 2.0  # that a round gets to end: it may be cut short anywhere

T = TypeVar("T")


class Kind(StrEnum):
    """Why something is taken away, or only looked at."""

    CHECKPOINT = "checkpoint"  # newer ones have replaced it, or its job has ended
    ABANDONED = "abandoned"  # of an attempt that came to nothing, named by no row
    UNFINISHED = "unfinished"  # a half-written file or upload
    EXPIRED = "expired"  # an upload in pieces whose time is over
    DELETED = "deleted"  # of a dataset that was deleted, and whose deletion was cut short
    UNKNOWN = "unknown"  # of a job that this database does not know: kept unless asked for


@dataclass(frozen=True, slots=True)
class Finding:
    """One object, or half of one."""

    kind: Kind
    key: str
    size: int


Tell = Callable[[Finding], None]


def prune(sessions: Sessions, store: ObjectStore) -> None:
    """Drop the replaced checkpoints of jobs that have not ended; one process at a time does it."""
    with sessions.begin() as session:
        if not locks.alone(session, "prune"):
            return
        replaced = garbage.spent(session, ended_seconds=None)
        garbage.forget(session, replaced)
    store.delete(each.key for each in replaced)


def collect(
    sessions: Sessions,
    store: ObjectStore,
    *,
    tell: Tell = lambda _: None,
    grace_seconds: float = GRACE_SECONDS,
    unknown: bool = False,
    dry_run: bool = False,
) -> None:
    """Take away, or with `dry_run` only tell of, everything that is older than the grace.

    `unknown` takes the files of unknown jobs as well: right after a restored backup, and a
    disaster with the settings of another database.
    """
    terms = _Terms(sessions, store, tell, grace_seconds, unknown, dry_run)
    _checkpoints(terms)
    _abandoned(terms)
    _unfinished(terms)
    _expired(terms)
    _uncounted(terms)
    _deleted(terms)
    if not dry_run:
        _scrub(sessions)
        with sessions.begin() as session:
            idempotency.forget(session, max(grace_seconds, idempotency.KEPT_SECONDS))
            outbox.forget(session)


@dataclass(frozen=True, slots=True)
class _Terms:
    sessions: Sessions
    store: ObjectStore
    tell: Tell
    grace_seconds: float
    unknown: bool
    dry_run: bool


def _checkpoints(terms: _Terms) -> None:
    if terms.dry_run:
        with terms.sessions.read() as session:
            found = garbage.spent(session, ended_seconds=terms.grace_seconds, limit=None)
        _tell_of(terms, found)
        return
    while found := _forgotten(terms):
        terms.store.delete(each.key for each in found)
        _tell_of(terms, found)


def _forgotten(terms: _Terms) -> tuple[garbage.Spent, ...]:
    with terms.sessions.begin() as session:
        found = garbage.spent(session, ended_seconds=terms.grace_seconds)
        garbage.forget(session, found)
    return found


def _tell_of(terms: _Terms, found: Sequence[garbage.Spent]) -> None:
    for each in found:
        terms.tell(Finding(Kind.CHECKPOINT, each.key, each.size))


def _old(terms: _Terms, folder_of: Callable[[ProjectId], str]) -> Iterator[dict[str, int]]:
    """What lies there, in any project, and is older than the grace, by the batch: sizes by key."""
    with terms.sessions.read() as session:
        before = _before(session, terms.grace_seconds)
        folders = [folder_of(project) for project in garbage.projects(session)]
    found = chain.from_iterable(map(terms.store.listing, folders))
    old = (each for each in found if each.modified < before)
    for batch in _batches(old, garbage.AT_ONCE):
        yield {each.key: each.size for each in batch}


def _abandoned(terms: _Terms) -> None:
    for sizes in _old(terms, keys.jobs):
        with terms.sessions.read() as session:
            verdict = garbage.judge(session, sizes)
        going = verdict.garbage | (verdict.unknown if terms.unknown else frozenset())
        if not terms.dry_run:
            terms.store.delete(sorted(going))
        for key in sorted(verdict.garbage | verdict.unknown):
            kind = Kind.UNKNOWN if key in verdict.unknown else Kind.ABANDONED
            terms.tell(Finding(kind, key, sizes[key]))


def _unfinished(terms: _Terms) -> None:
    with terms.sessions.read() as session:
        before = _before(session, terms.grace_seconds)
    for each in terms.store.unfinished():
        if each.began < before:
            if not terms.dry_run:
                terms.store.discard(each)
            terms.tell(Finding(Kind.UNFINISHED, each.key, each.size))


def _expired(terms: _Terms) -> None:
    """Uploads whose time is over, each with what came of it."""
    with terms.sessions.read() as session:
        over = uploads.expired(session, garbage.AT_ONCE)
    for upload in over:
        if not terms.dry_run:
            try:
                with terms.sessions.begin() as session:
                    parts = uploads.drop(session, upload.id)
            except (NotFound, Conflict):  # somebody was quicker
                continue
            terms.store.delete(part.key for part in parts)
        terms.tell(
            Finding(Kind.EXPIRED, keys.upload(upload.project_id, upload.id), upload.received)
        )


def _uncounted(terms: _Terms) -> None:
    """Pieces of uploads that no row names: their writer was killed before it could count them."""
    for sizes in _old(terms, keys.uploads):
        with terms.sessions.read() as session:
            going = sorted(sizes.keys() - uploads.named(session, sizes))
        if not terms.dry_run:
            terms.store.delete(going)
        for key in going:
            terms.tell(Finding(Kind.ABANDONED, key, sizes[key]))


def _deleted(terms: _Terms) -> None:
    """What lies there of deleted datasets, however young: whoever deleted them was killed, or a
    lost attempt has written since."""
    with terms.sessions.read() as session:
        dead = tombstones.listing(session)
    for dataset_id, folder in dead.items():
        going = tuple(terms.store.listing(folder))
        if going and not terms.dry_run:
            going = deletion.take_away(terms.sessions, terms.store, dataset_id)
        for each in going:
            terms.tell(Finding(Kind.DELETED, each.key, each.size))


def _scrub(sessions: Sessions) -> None:
    """What rankings say of deleted datasets, those included that jobs have recorded since."""
    with sessions.read() as session:
        gone = scrubbing.recent(session, SCRUB_SECONDS)
    for each in (scrubbing.rankings, scrubbing.searches) if gone else ():
        after: Any = None
        while True:
            with sessions.begin() as session:
                after = each(session, gone, after)
            if after is None:
                break


def _before(session: Session, seconds: float) -> datetime:
    moment: datetime = session.scalars(select(now(-seconds))).one()
    return moment


def _batches(found: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(found)
    while batch := list(islice(rest, size)):
        yield batch
