"""How the service stands, for whoever operates it; of other projects nobody else is told."""

import hashlib
import platform
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from api.deps import ContainerDep, SessionDep
from api.identity import IdentityDep, operates
from api.routes.health import BeyondDep
from api.web import pages, words
from core.bootstrap import Container
from core.db.scope import of_all
from core.domain.identity import Identity, Limits
from core.services import mlflow_runs, projects, quotas, standing

router = APIRouter(prefix="/operations")


@dataclass(frozen=True, slots=True)
class Quota:
    """What a project may use of one thing, as people read it; `share` is None without a limit."""

    used: str
    limit: str
    share: float | None


@dataclass(frozen=True, slots=True)
class Project:
    """A line of the table."""

    name: str
    quotas: tuple[Quota, ...]


@router.get("")
def show(
    request: Request,
    checks: BeyondDep,
    session: SessionDep,
    container: ContainerDep,
    identity: IdentityDep,
) -> Response:
    """All of it."""
    found = _standing(checks, session, container, identity)
    return pages.render("operations.html", software=_software(request, session), **found)


@router.get("/live")
def live(
    checks: BeyondDep,
    session: SessionDep,
    container: ContainerDep,
    identity: IdentityDep,
    seen: Annotated[str, Query(max_length=100)] = "",
) -> Response:
    """What changes, alone; nothing where it is as it was `seen`."""
    found = _standing(checks, session, container, identity)
    if found["version"] == seen:
        return Response(status_code=204)
    return pages.render("operations_live.html", **found)


def _standing(
    checks: Mapping[str, str], session: Session, container: Container, identity: Identity
) -> dict[str, Any]:
    whole = operates(identity)
    with of_all(session) if whole else nullcontext():
        now = standing.read(session)
        names = {each.id: each.name for each in projects.listing(session)} if whole else {}
        rows = _projects(session, container) if whole else ()
        told = whole and container.settings.mlflow.tracking_uri is not None
        untold = mlflow_runs.standing(session).waiting if told else None
    if not whole:
        name = projects.get(session, identity.project_id).name
        allowed, used = quotas.allowed(session, container.settings), quotas.used(session)
        rows = (Project(name, _quotas(allowed, used)),)
    shown = {
        "now": now,
        "projects": rows,
        "untold": untold,
        "checks": {"database": "ok", **checks},  # it has answered
    }
    version = hashlib.sha256(repr(shown).encode()).hexdigest()[:24]
    return {**shown, "whole": whole, "names": names, "mine": identity.project_id,
            "version": version}  # fmt: skip


def _projects(session: Session, container: Container) -> tuple[Project, ...]:
    return tuple(
        Project(each.name, _quotas(quotas.filled(each.limits, container.settings), used))
        for each, used in quotas.by_project(session)
    )


def _quotas(allowed: Limits, used: quotas.Used) -> tuple[Quota, ...]:
    return (
        _quota(used.active_jobs, allowed.active_jobs, words.count),
        _quota(used.stored_bytes, allowed.stored_bytes, words.size),
        _quota(used.gpu_seconds, allowed.gpu_seconds, words.duration),
    )


def _quota(used: float, limit: float | None, say: Any) -> Quota:
    if limit is None:
        return Quota(say(used), "no limit", None)
    return Quota(say(used), say(limit), min(1.0, used / limit) if limit else 1.0)


def _software(request: Request, session: Session) -> dict[str, str]:
    dialect = session.connection().dialect
    version = ".".join(map(str, dialect.server_version_info or ()))
    return {
        "Headstart": request.app.version,
        "Python": platform.python_version(),
        "Database": f"{dialect.name} {version}",
    }
