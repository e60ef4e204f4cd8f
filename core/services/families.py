"""Versions of one dataset: a family is a first version and everything that came of it."""

from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from core.db.dataset_tables import DatasetRow


def members(session: Session, dataset_id: UUID) -> Select[UUID]:
    """The ids of the dataset's family, its own and those of deleted ones included."""
    return _since(_root(session, dataset_id))


def next_version(session: Session, parent_id: UUID) -> int:
    """The number of the family's next version, for whoever registers it in this transaction:
    others who come to the same family wait for its end."""
    root = _root(session, parent_id)
    # Not FOR UPDATE: that would hold up every job that points at the row.
    first = select(DatasetRow.id).where(DatasetRow.id == root)
    session.execute(first.with_for_update(key_share=True))
    newest = select(func.max(DatasetRow.version)).where(DatasetRow.id.in_(_since(root)))
    return session.execute(newest).scalar_one() + 1


def _root(session: Session, dataset_id: UUID) -> UUID:
    one = select(DatasetRow.id, DatasetRow.parent_id)
    up = one.where(DatasetRow.id == dataset_id).cte("up", recursive=True)
    up = up.union(one.join(up, DatasetRow.id == up.c.parent_id))
    first: UUID = session.execute(select(up.c.id).where(up.c.parent_id.is_(None))).scalar_one()
    return first


def _since(root: UUID) -> Select[UUID]:
    down = select(DatasetRow.id).where(DatasetRow.id == root).cte("down", recursive=True)
    down = down.union(select(DatasetRow.id).join(down, DatasetRow.parent_id == down.c.id))
    return select(down.c.id)
