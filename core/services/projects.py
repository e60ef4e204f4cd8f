"""Projects: who owns rows, and how much each may use."""

import re

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core.db import scope
from core.db.identity_tables import ProjectRow
from core.domain.identity import PUBLIC, Limits, Project, ProjectId
from core.errors import Conflict, Detail, InvalidInput, NotFound

NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")


def create(session: Session, name: str, limits: Limits | None = None) -> Project:
    """A new project. Raises InvalidInput, and Conflict when there is one of that name."""
    if not NAME.fullmatch(name):
        message = "A project is called by 1 to 64 small letters, digits and hyphens between them."
        raise InvalidInput(message, details=[Detail("name", "invalid", message)])
    limits = _checked(limits or Limits())
    row = ProjectRow(
        name=name,
        active_jobs=limits.active_jobs,
        stored_bytes=limits.stored_bytes,
        gpu_seconds=limits.gpu_seconds,
    )
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError as error:
        raise Conflict(f"There is a project called {name} already.") from error
    session.refresh(row)
    return row.to_domain()


def listing(session: Session) -> tuple[Project, ...]:
    """All projects by name."""
    rows = session.scalars(select(ProjectRow).order_by(ProjectRow.name))
    return tuple(row.to_domain() for row in rows)


def get(session: Session, project_id: ProjectId) -> Project:
    """The project. Raises NotFound."""
    row = session.get(ProjectRow, project_id)
    if row is None:
        raise NotFound("There is no such project.")
    return row.to_domain()


def limits_of(session: Session) -> Limits:
    """What the session's project may use; the system's has no limits."""
    project_id = scope.project_of(session)
    row = None if project_id is None else session.get(ProjectRow, project_id)
    return Limits() if row is None else row.to_domain().limits


def named(session: Session, name: str) -> Project:
    """The project of this name. Raises NotFound."""
    row = session.scalars(select(ProjectRow).where(ProjectRow.name == name)).first()
    if row is None:
        raise NotFound(f"There is no project called {name}: see `headstart projects list`.")
    return row.to_domain()


def limit(session: Session, project_id: ProjectId, limits: Limits) -> Project:
    """Let the project use so much from now on. Raises NotFound, InvalidInput."""
    if project_id == PUBLIC:
        raise InvalidInput("The public project is read by all and has no limits.")
    _checked(limits)
    session.execute(
        update(ProjectRow)
        .where(ProjectRow.id == project_id)
        .values(
            active_jobs=limits.active_jobs,
            stored_bytes=limits.stored_bytes,
            gpu_seconds=limits.gpu_seconds,
        )
    )
    return get(session, project_id)


def _checked(limits: Limits) -> Limits:
    for name in ("active_jobs", "stored_bytes", "gpu_seconds"):
        value = getattr(limits, name)
        if value is not None and value < 0:
            message = "A limit is a number from 0 on, or none."
            raise InvalidInput(message, details=[Detail(name, "invalid", message)])
    return limits
