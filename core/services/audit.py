"""The audit log: who did what, or was refused it. It only grows; the database sees to that."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db.identity_tables import AuditRow
from core.domain.identity import OPERATOR, AuditEntry, ProjectId
from core.services import paging


def record(
    session: Session,
    action: str,
    *,
    actor: str | None = OPERATOR,
    project_id: ProjectId | None = None,
    target: str | None = None,
    status: int | None = None,
    request_id: str | None = None,
    address: str | None = None,
) -> None:
    """Add an entry; by itself it says what an operator did by a command."""
    session.add(
        AuditRow(
            action=action,
            actor=actor,
            project_id=project_id,
            target=target,
            status=status,
            request_id=request_id,
            address=address,
        )
    )


def listing(
    session: Session,
    *,
    project_id: ProjectId | None,
    limit: int,
    after: str | None = None,
    order: paging.Order = "newest",
) -> tuple[tuple[AuditEntry, ...], str | None]:
    """A page of a project's entries, or of all, and the token of the next. Raises InvalidInput."""
    wanted = select(AuditRow)
    if project_id is not None:
        wanted = wanted.where(AuditRow.project_id == project_id)
    by = (AuditRow.created_at, AuditRow.id)
    rows, token = paging.page(session, wanted, by=by, limit=limit, after=after, order=order)
    return tuple(row[0].to_domain() for row in rows), token
