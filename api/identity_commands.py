"""Commands about projects, their keys and the audit log, for whoever has the database.

Each says in the audit log what it changed.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, astuple
from datetime import datetime
from typing import Annotated, Any

import typer
from sqlalchemy.orm import Session

from api import environment, terminal
from api.web import words
from core import bootstrap
from core.domain.identity import ApiKey, Limits, Project, Scope
from core.services import api_keys, audit, paging, projects

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
OfProject = Annotated[str | None, typer.Option("--project", help="Of this one alone.")]
ActiveJobs = Annotated[int | None, typer.Option(min=0, help="Jobs that have not ended.")]
StoredBytes = Annotated[int | None, typer.Option(min=0, help="Bytes of datasets and uploads.")]
GpuSeconds = Annotated[float | None, typer.Option(min=0, help="GPU seconds in 30 days.")]
SECONDS_OF = {"m": 60.0, "h": 3_600.0, "d": 86_400.0}

of_projects = typer.Typer(help="Projects: who owns datasets, jobs and models.")
of_keys = typer.Typer(help="API keys, by which programs and people say which project is theirs.")


@of_projects.command("create")
def create_project(
    name: Annotated[str, typer.Argument(help="Small letters, digits, hyphens.")],
    active_jobs: ActiveJobs = None,
    stored_bytes: StoredBytes = None,
    gpu_seconds: GpuSeconds = None,
) -> None:
    """Make a project; without a limit it may use what there is."""
    with _writing() as session:
        limits = Limits(active_jobs, stored_bytes, gpu_seconds)
        project = projects.create(session, name, limits)
        audit.record(session, "projects create", project_id=project.id, target=name)
    terminal.out.print(str(project.id))


@of_projects.command("list")
def list_projects(as_json: AsJson = False) -> None:
    """Show the projects and their limits."""
    with _writing() as session:
        found = projects.listing(session)
    if as_json:
        terminal.show_json({"items": [_project(each) for each in found]})
        return
    terminal.show_table(
        ("project", "jobs", "bytes", "GPU seconds", "id"),
        [[_or_none(each) for each in (p.name, *astuple(p.limits), p.id)] for p in found],
    )


@of_projects.command("limit")
def limit_project(
    name: Annotated[str, typer.Argument(help="The project.")],
    active_jobs: ActiveJobs = None,
    stored_bytes: StoredBytes = None,
    gpu_seconds: GpuSeconds = None,
) -> None:
    """Say what a project may use from now on: all of it, what is left out has no limit."""
    with _writing() as session:
        limits = Limits(active_jobs, stored_bytes, gpu_seconds)
        project = projects.limit(session, projects.named(session, name).id, limits)
        audit.record(session, "projects limit", project_id=project.id, target=name)
    terminal.show_json(_project(project))


@of_keys.command("create")
def create_key(
    project: Annotated[str, typer.Option(help="Whose key it is.")] = "default",
    name: Annotated[str, typer.Option(help="What it is for, to know it again.")] = "",
    scope: Annotated[Scope, typer.Option(help="What it allows.")] = Scope.WRITE,
    expires: Annotated[
        str | None, typer.Option(help="After how long: 90d, 12h, 30m; else never.")
    ] = None,
) -> None:
    """Make a key and print it, this once: nothing can tell it again."""
    seconds = None if expires is None else _seconds(expires)
    with _writing() as session:
        owner = projects.named(session, project)
        key, text = api_keys.create(session, owner.id, name=name, scope=scope, expires_in=seconds)
        audit.record(session, "keys create", project_id=owner.id, target=key.id)
    terminal.err.print(
        f"Key {key.id} of {owner.name} may {scope.value}. Keep it: it is not shown again."
    )
    terminal.out.print(text)


@of_keys.command("list")
def list_keys(project: OfProject = None, as_json: AsJson = False) -> None:
    """Show keys, without what is secret of them."""
    with _writing() as session:
        names = {each.id: each.name for each in projects.listing(session)}
        owner = None if project is None else projects.named(session, project).id
        found, _ = api_keys.listing(session, project_id=owner, limit=paging.MOST)
    if as_json:
        terminal.show_json({"items": [_key(each, names[each.project_id]) for each in found]})
        return
    terminal.show_table(("key", "project", "name", "scope", "expires", "revoked", "last used"), [
        (k.id, names[k.project_id], k.name, k.scope.value,
         *map(_moment, (k.expires_at, k.revoked_at, k.last_used_at)))
        for k in found
    ])  # fmt: skip


@of_keys.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(help="The key's id: what stands after hs_.")],
) -> None:
    """End a key; within 5 seconds nobody takes it any more."""
    with _writing() as session:
        key = api_keys.revoke(session, key_id)
        audit.record(session, "keys revoke", project_id=key.project_id, target=key.id)
    terminal.out.print(f"Key {key.id} is revoked.")


def show_audit(
    project: OfProject = None,
    limit: Annotated[int, typer.Option(min=1, max=paging.MOST, help="How many.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Show the latest of what was done, and refused, with changes by commands."""
    with _writing() as session:
        names = {each.id: each.name for each in projects.listing(session)}
        owner = None if project is None else projects.named(session, project).id
        found, _ = audit.listing(session, project_id=owner, limit=limit)
    lines = [
        {
            "at": words.moment(each.created_at) if not as_json else each.created_at.isoformat(),
            "project": names.get(each.project_id) if each.project_id else None,
            "actor": each.actor,
            "action": each.action,
            "target": each.target,
            "status": each.status,
            "address": each.address,
            "request_id": each.request_id,
        }
        for each in found
    ]
    if as_json:
        terminal.show_json({"items": lines})
        return
    headings = ("at", "project", "actor", "action", "target", "status", "address")
    rows = [[_or_none(line[name]) for name in headings] for line in lines]
    terminal.show_table(headings, rows)


def _seconds(text: str) -> float:
    found = re.fullmatch(r"([1-9][0-9]{0,4})([mhd])", text)
    if found is None:
        raise typer.BadParameter("say 90d, 12h or 30m", param_hint="--expires")
    return int(found[1]) * SECONDS_OF[found[2]]


def _project(project: Project) -> dict[str, Any]:
    return {"id": str(project.id), "name": project.name, **asdict(project.limits)}


def _key(key: ApiKey, project: str) -> dict[str, Any]:
    moments = {
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
    }
    return {
        "id": key.id,
        "project": project,
        "name": key.name,
        "scope": key.scope.value,
        **{name: at and at.isoformat() for name, at in moments.items()},
    }


def _or_none(value: object) -> str:
    return "" if value is None else str(value)


def _moment(at: datetime | None) -> str:
    return "" if at is None else words.moment(at)


@contextmanager
def _writing() -> Iterator[Session]:
    container = bootstrap.build(environment.read_settings())
    try:
        with container.sessions.begin() as session:
            yield session
    finally:
        container.close()
