"""Files that come in pieces: what is stored of each, one writer at a time.

A piece is stored as an object first and appended to its upload then, in one statement that counts
only for whoever holds the upload and says the right place. So `received` never says more than is
there, however many servers are asked, and a writer who lost its hold changes nothing.
"""

import re
from collections import Counter
from collections.abc import Collection
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    and_,
    case,
    delete,
    func,
    literal,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.orm import Session

from core.config import UploadLimits
from core.db import locks
from core.db.clock import now
from core.db.dataset_tables import DatasetRow
from core.db.result_tables import SupernetRow
from core.db.scope import project_of
from core.db.upload_tables import STATE, UploadPartRow, UploadRow
from core.domain import keys
from core.domain.identity import PUBLIC
from core.domain.uploads import Part, Upload, UploadState
from core.errors import Conflict, Detail, Gone, InvalidInput, NotFound, TooLarge
from core.services import jobs, paging, projects
from core.services.paging import Order

SHA256 = re.compile(r"[0-9a-f]{64}")
NAME_LENGTH = 255
# A writer that died is believed to be at it for so long. Each part renews it, and so does taking
# the upload once more under the same token.
HOLD_SECONDS = 60.0
MOST_PARTS = 10_000
FARTHEST = 2**62  # what a column can hold; nothing is there


def create(
    session: Session, *, name: str, length: int, sha256: str | None, limits: UploadLimits
) -> Upload:
    """Begin an upload of `length` bytes, whose whole is checked against `sha256` if that is given.

    Raises InvalidInput, TooLarge (`archive_too_large`, `quota_exceeded`) and Conflict
    (`too_many_uploads`).
    """
    name = _checked(name, length, sha256)
    if length > limits.archive_bytes:
        message = f"An upload has at most {limits.archive_bytes} bytes, not {length}."
        raise TooLarge(message, code="archive_too_large")
    check_room(session, length, limits)
    open_now = select(func.count()).select_from(UploadRow).where(_open())
    if session.execute(open_now).scalar_one() >= limits.open_uploads:
        message = (
            f"{limits.open_uploads} uploads are under way: "
            "end or delete one of them, or wait until one expires."
        )
        raise Conflict(message, code="too_many_uploads")
    expires_at = now(limits.expiry_seconds)
    row = UploadRow(name=name, length=length, sha256=sha256, expires_at=expires_at)
    session.add(row)
    session.flush()
    session.refresh(row)
    return row.to_domain()


def hold_room(session: Session) -> None:
    """Let nobody else of the project take or give back room until this transaction ends."""
    locks.in_turn(session, f"uploads of {project_of(session)}")


def check_room(session: Session, size: int, limits: UploadLimits) -> None:
    """Raise TooLarge (`quota_exceeded`) when so many bytes more are beyond what may be stored."""
    hold_room(session)  # two who count at once would both find it
    most = projects.limits_of(session).stored_bytes
    most = limits.stored_bytes if most is None else most
    left = most - used_bytes(session)
    if size > left:
        message = (
            f"{size} bytes more would pass the {most} that the project may store, of "
            f"which {max(left, 0)} are free: delete datasets or uploads that are not needed."
        )
        raise TooLarge(message, code="quota_exceeded")


def used_bytes(session: Session) -> int:
    """What the project brought: datasets, class statistics, imported supernets, and uploads, those
    under way by the whole of what they may be. What jobs compute of it is not in it."""
    # What is everybody's can be seen here, and is nobody's to answer for.
    kept = DatasetRow.deleted_at.is_(None), DatasetRow.project_id != PUBLIC
    stored = select(func.sum(DatasetRow.size_bytes)).where(*kept)
    brought = SupernetRow.job_id.is_(None), SupernetRow.project_id != PUBLIC
    imported = select(func.sum(SupernetRow.size_bytes)).where(*brought)
    each = case((_open(), UploadRow.length), else_=UploadRow.received)
    taken = select(func.sum(each)).select_from(UploadRow)  # else it would be nobody's statement
    return sum(int(session.scalar(wanted) or 0) for wanted in (stored, imported, taken))


def used_by_project(session: Session) -> dict[UUID, int]:
    """The same for each project that brought anything, for a session of none."""
    there = DatasetRow.deleted_at.is_(None)
    brought = SupernetRow.job_id.is_(None)
    each = case((_open(), UploadRow.length), else_=UploadRow.received)
    used: Counter[UUID] = Counter()
    for row, size, which in (
        (DatasetRow, DatasetRow.size_bytes, there),
        (SupernetRow, SupernetRow.size_bytes, brought),
        (UploadRow, each, true()),
    ):
        grouped = select(row.project_id, func.sum(size)).where(which).group_by(row.project_id)
        used.update({project_id: int(size or 0) for project_id, size in session.execute(grouped)})
    return dict(used)


def get(session: Session, upload_id: UUID) -> Upload:
    """The upload. Raises NotFound, Gone (`upload_expired`)."""
    row, expired, _ = _looked_at(session, upload_id)
    if expired:
        raise _expired(row)
    return row.to_domain()


def listing(
    session: Session, *, limit: int, after: str | None = None, order: Order = "newest"
) -> tuple[tuple[Upload, ...], str | None]:
    """A page of uploads, those whose time is over left out, and the token of the next.

    Raises InvalidInput.
    """
    statement = select(UploadRow).where(UploadRow.expires_at > now())
    by = paging.sorted_by(UploadRow, order)
    rows, token = paging.page(session, statement, by=by, limit=limit, after=after, order=order)
    return tuple(row[0].to_domain() for row in rows), token


def contents(session: Session, upload_id: UUID) -> tuple[Upload, tuple[Part, ...]]:
    """The upload with its parts in order, for a job that was promised it: expired or not.

    Raises NotFound.
    """
    return _looked_at(session, upload_id)[0].to_domain(), _parts(session, upload_id)


def take(session: Session, upload_id: UUID, *, offset: int, token: str) -> Upload:
    """Hold the upload for whoever has the token and goes on from `offset`; again is longer.

    Raises NotFound, Gone (`upload_expired`) and Conflict: `upload_busy` while another holds it,
    `wrong_offset` when another number of bytes is there.
    """
    if not keys.TOKEN.fullmatch(token):
        raise ValueError("a token is 1 to 32 letters and digits")
    row = _changed(
        session,
        UploadRow.id == upload_id,
        UploadRow.received == min(offset, FARTHEST),
        UploadRow.expires_at > now(),
        or_(~_busy(), UploadRow.busy_token == token),
        values={"busy_token": token, "busy_until": now(HOLD_SECONDS)},
    )
    if row is not None:
        return row.to_domain()
    row, expired, busy = _looked_at(session, upload_id)
    if expired:
        raise _expired(row)
    if busy and row.busy_token != token:
        raise _held_by_another()
    raise _wrong_offset(row)


def append(
    session: Session, upload_id: UUID, token: str, part: Part, *, most_parts: int = MOST_PARTS
) -> Upload:
    """Add a part whose object is stored; with the last byte the upload is complete.

    Whoever took the upload last counts, even if its hold has lapsed since. Raises NotFound when
    the upload was deleted meanwhile, Conflict (`upload_busy`) when another took it, Conflict
    (`wrong_offset`), TooLarge (`archive_too_large`, `too_many_parts`); nothing names the part's
    object then.
    """
    if part.size < 1 or not SHA256.fullmatch(part.sha256):
        raise ValueError("a part has bytes and their checksum")
    end = part.start + part.size
    complete = (UploadRow.length == end, literal(UploadState.COMPLETE, STATE))
    row = _changed(
        session,
        UploadRow.id == upload_id,
        UploadRow.busy_token == token,
        UploadRow.received == part.start,
        UploadRow.length >= end,
        values={
            "received": end,
            "state": case(complete, else_=UploadRow.state),
            "busy_until": now(HOLD_SECONDS),
        },
    )
    if row is None:
        raise _unfitting(session, upload_id, token, part)
    values = {"key": part.key, "start": part.start, "size": part.size, "sha256": part.sha256}
    session.add(UploadPartRow(upload_id=upload_id, **values))
    session.flush()
    count = select(func.count()).where(UploadPartRow.upload_id == upload_id)
    if session.execute(count).scalar_one() > most_parts:
        message = f"An upload has at most {most_parts} parts: send more bytes at once."
        raise TooLarge(message, code="too_many_parts")
    return row.to_domain()


def release(session: Session, upload_id: UUID, token: str) -> None:
    """Let go of the upload, so that it can be taken at once; nothing if it is not held so."""
    mine = UploadRow.id == upload_id, UploadRow.busy_token == token
    _changed(session, *mine, values={"busy_token": None, "busy_until": None})


def rewind(session: Session, upload_id: UUID) -> tuple[Part, ...]:
    """Begin anew an upload that is not complete: what was stored of it is forgotten, and is the
    caller's to delete after the commit.

    Raises NotFound, Gone (`upload_expired`) and Conflict (`upload_busy`, `upload_complete`).
    """
    row = _changed(
        session,
        UploadRow.id == upload_id,
        UploadRow.received < UploadRow.length,
        UploadRow.expires_at > now(),
        ~_busy(),
        values={"received": 0, "busy_token": None},
    )
    if row is not None:
        parts = _parts(session, upload_id)
        session.execute(delete(UploadPartRow).where(UploadPartRow.upload_id == upload_id))
        return parts
    row, expired, busy = _looked_at(session, upload_id)
    if expired:
        raise _expired(row)
    if busy:
        raise _held_by_another()
    raise Conflict(f"'{row.name}' is complete already.", code="upload_complete")


def use(session: Session, upload_id: UUID) -> Upload:
    """Promise a complete upload to a job that is queued in this transaction, once or again: it
    stays, beyond its time if need be, until no unfinished job names it.

    Raises NotFound, Gone (`upload_expired`) and Conflict (`upload_incomplete`).
    """
    row = _changed(
        session,
        UploadRow.id == upload_id,
        UploadRow.received == UploadRow.length,
        UploadRow.expires_at > now(),
        values={"state": UploadState.USED},
    )
    if row is not None:
        return row.to_domain()
    row, expired, _ = _looked_at(session, upload_id)
    if expired:
        raise _expired(row)
    message = f"Of '{row.name}' {row.received} of {row.length} bytes are here: send the others."
    raise Conflict(message, code="upload_incomplete")


def drop(session: Session, upload_id: UUID, *, by: UUID | None = None) -> tuple[Part, ...]:
    """Forget the upload; its parts, whose objects are the caller's to delete after the commit.

    Raises NotFound, and Conflict (`upload_busy`) while an unfinished job other than `by` is to
    read it.
    """
    row = session.get(UploadRow, upload_id, with_for_update=True, populate_existing=True)
    if row is None:
        raise _unknown(upload_id)
    if row.state is UploadState.USED:
        waiting = [each for each in jobs.unfinished(session, naming=upload_id) if each != by]
        if waiting:
            message = f"Job {waiting[0]} is yet to read '{row.name}': wait for it, or cancel it."
            raise Conflict(message, code="upload_busy")
    parts = _parts(session, upload_id)
    session.execute(delete(UploadPartRow).where(UploadPartRow.upload_id == upload_id))
    session.delete(row)
    session.flush()
    return parts


def expired(session: Session, limit: int) -> tuple[Upload, ...]:
    """Uploads whose time is over, the longest first: nobody is at them, no job is to read them."""
    over = and_(UploadRow.expires_at <= now(), ~_busy())
    found: list[Upload] = []
    rows = session.scalars(select(UploadRow).where(over).order_by(UploadRow.expires_at))
    for row in rows:
        if len(found) == limit:
            break
        if row.state is not UploadState.USED or not jobs.unfinished(session, naming=row.id):
            found.append(row.to_domain())
    return tuple(found)


def named(session: Session, part_keys: Collection[str]) -> frozenset[str]:
    """Those of the keys that are parts of uploads."""
    these = select(UploadPartRow.key).where(UploadPartRow.key.in_(part_keys))
    return frozenset(session.scalars(these))


def _checked(name: str, length: int, sha256: str | None) -> str:
    name, wrong = name.strip(), []
    if not name or len(name) > NAME_LENGTH or not name.isprintable():
        words = f"give a name of 1 to {NAME_LENGTH} printable characters"
        wrong.append(Detail("name", "invalid", words))
    if length < 1:
        wrong.append(Detail("length", "invalid", "give the number of bytes, at least 1"))
    if sha256 is not None and not SHA256.fullmatch(sha256):
        words = "give 64 lower-case hexadecimal digits"
        wrong.append(Detail("sha256", "invalid", words))
    if wrong:
        told = "; ".join(f"{each.place}: {each.message}" for each in wrong)
        raise InvalidInput(f"Such an upload cannot begin. {told}.", details=wrong)
    return name


def _changed(session: Session, *where: ColumnElement[bool], values: Any) -> UploadRow | None:
    statement = update(UploadRow).where(*where).values(values).returning(UploadRow)
    options = {"synchronize_session": False, "populate_existing": True}
    return session.scalars(statement, execution_options=options).first()


def _looked_at(session: Session, upload_id: UUID) -> tuple[UploadRow, bool, bool]:
    """The row, whether its time is over, and whether somebody is at it."""
    over = (UploadRow.expires_at <= now()).label("over")
    statement = select(UploadRow, over, _busy().label("busy")).where(UploadRow.id == upload_id)
    found = session.execute(statement, execution_options={"populate_existing": True}).first()
    if found is None:
        raise _unknown(upload_id)
    return found[0], bool(found[1]), bool(found[2])


def _parts(session: Session, upload_id: UUID) -> tuple[Part, ...]:
    these = select(UploadPartRow).where(UploadPartRow.upload_id == upload_id)
    rows = session.scalars(these.order_by(UploadPartRow.start))
    return tuple(row.to_domain() for row in rows)


def _open() -> ColumnElement[bool]:
    return and_(UploadRow.state == UploadState.OPEN, UploadRow.expires_at > now())


def _busy() -> ColumnElement[bool]:
    return func.coalesce(UploadRow.busy_until > now(), literal(value=False))


def _unfitting(
    session: Session, upload_id: UUID, token: str, part: Part
) -> NotFound | Conflict | TooLarge:
    row, _, _ = _looked_at(session, upload_id)
    if row.busy_token != token:
        return _held_by_another()
    if row.received != part.start:
        return _wrong_offset(row)
    message = f"'{row.name}' was to have {row.length} bytes, and more came."
    return TooLarge(message, code="archive_too_large")


def _unknown(upload_id: UUID) -> NotFound:
    return NotFound(f"There is no upload {upload_id}: begin it anew.")


def _expired(row: UploadRow) -> Gone:
    message = f"The time of upload '{row.name}' is over: begin it anew."
    return Gone(message, code="upload_expired")


def _wrong_offset(row: UploadRow) -> Conflict:
    message = f"Of '{row.name}' the first {row.received} bytes are here: go on from there."
    return Conflict(message, code="wrong_offset")


def _held_by_another() -> Conflict:
    message = "Another request is adding to this upload: ask how far it is, and try again."
    return Conflict(message, code="upload_busy")
