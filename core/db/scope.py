"""Whose rows a session sees and writes: put into every statement here, and nowhere else.

A session of `Sessions.within(project)` reads its project's rows and, of what may be everybody's,
those of the public project; it writes its project's alone. Any other session is the system's own:
it sees all rows, and names the project of each that it adds.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final, cast
from uuid import UUID

from sqlalchemy import Table, event
from sqlalchemy.orm import (
    Mapped,
    ORMExecuteState,
    Session,
    mapped_column,
    with_loader_criteria,
)
from sqlalchemy.sql import visitors
from sqlalchemy.sql.base import ExecutableOption

from core.domain.identity import PUBLIC, ProjectId
from core.errors import Forbidden

PROJECT: Final = "headstart_project"  # in a session's `info`
THEIRS: Final = "This is everybody's to read, and its own project's to change."


class ForeignRow(Forbidden):
    """A row of another project was to be written: of the public one, for no other is found."""


def unnamed() -> UUID:
    """The project of a row that names none. Raises ValueError."""
    raise ValueError("a session of no project names the project of each row that it adds")


class Owned:
    """Rows of a project; no reference, so that a column could be added to tables in use."""

    project_id: Mapped[UUID] = mapped_column(default=unnamed)


class Private(Owned):
    """Rows that their project alone sees."""


class Shared(Owned):
    """Rows that everybody sees if they are the public project's."""


class ScopedSession(Session):
    """A session of the project in its `info`, or of the system."""


def project_of(session: Session) -> ProjectId | None:
    """The project that the session is of; None of the system's."""
    return cast(ProjectId | None, session.info.get(PROJECT))


@contextmanager
def of_all(session: Session) -> Iterator[None]:
    """Let the block read what is every project's, in the session's own transaction: for numbers
    that are the installation's. What is to be written by then is written as the project's."""
    session.flush()
    project = session.info.pop(PROJECT, None)
    try:
        yield
    finally:
        if project is not None:
            session.info[PROJECT] = project


@event.listens_for(ScopedSession, "do_orm_execute")
def _confine(state: ORMExecuteState) -> None:
    project = project_of(state.session)
    if project is None:
        return
    if state.is_insert:
        if state.bind_mapper is None or not issubclass(state.bind_mapper.class_, Owned):
            return
        _check_inserted(state, project)
        state.statement = cast(Any, state.statement).values(project_id=project)
    elif not state.is_orm_statement:
        _check_seen(state)
    elif state.is_select:
        state.statement = state.statement.options(*_readable(project))
    elif state.is_update or state.is_delete:
        state.statement = state.statement.options(_own(project))


@event.listens_for(ScopedSession, "before_flush")
def _stamp(session: Session, _context: object, _instances: object) -> None:
    project = project_of(session)
    if project is None:
        return
    for row in session.new:
        if isinstance(row, Owned):
            row.project_id = row.project_id or project
    for row in (*session.new, *session.dirty, *session.deleted):
        if isinstance(row, Owned) and row.project_id != project:
            raise ForeignRow(THEIRS)


def _check_seen(state: ORMExecuteState) -> None:
    """Raise TypeError for a statement about our tables that SQLAlchemy does not see is about our
    classes, and so gives no criteria: a sum of a CASE, say. `select_from` tells it."""
    for each in visitors.iterate(cast(Any, state.statement)):
        if isinstance(each, Table) and "project_id" in each.columns:
            raise TypeError(f"a statement about {each.name} that does not say its class")


def _check_inserted(state: ORMExecuteState, project: ProjectId) -> None:
    given = state.parameters or ()
    rows = [given] if isinstance(given, Mapping) else given
    if any(row.get("project_id", project) != project for row in rows):
        raise ForeignRow(THEIRS)


# Made once for each project: what is new in each statement is only that it is pointed to.
@lru_cache(maxsize=1_000)
def _readable(project: ProjectId) -> tuple[ExecutableOption, ExecutableOption]:
    everybodys = project, PUBLIC
    return (
        with_loader_criteria(Private, lambda row: row.project_id == project, include_aliases=True),
        with_loader_criteria(
            Shared, lambda row: row.project_id.in_(everybodys), include_aliases=True
        ),
    )


@lru_cache(maxsize=1_000)
def _own(project: ProjectId) -> ExecutableOption:
    return with_loader_criteria(Owned, lambda row: row.project_id == project, include_aliases=True)
