"""An application that asks for keys, with a key of every sort."""

import asyncio
import shutil
from collections.abc import Iterator, Mapping
from contextvars import copy_context
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from sqlalchemy.orm import Session
from starlette.routing import Mount

from api.app import create_app
from core import bootstrap
from core.bootstrap import Container
from core.config import RateLimits, Settings
from core.domain.identity import DEFAULT, ProjectId, Scope
from core.services import api_keys, projects
from tests.unit.api.conftest import Bell

FREE = RateLimits(writes_burst=1e6, failures_burst=1e6)


@dataclass(frozen=True, slots=True)
class Keyed:
    """The application and its keys by what is the matter with them; `none` has no key."""

    app: FastAPI
    container: Container
    keys: Mapping[str, str]
    other: ProjectId
    runner: asyncio.Runner

    @property
    def mine(self) -> Container:
        """What the keys but `other` speak for."""
        return replace(self.container, sessions=self.container.sessions.within(DEFAULT))

    def ask(
        self, method: str, path: str, by: str = "none", *, scheme: str = "http", **options: Any
    ) -> httpx.Response:
        """One request with this key."""
        if self.keys[by]:
            given = options.get("headers", {})
            options["headers"] = {"Authorization": f"Bearer {self.keys[by]}", **given}
        asking = self._ask(method, f"{scheme}://127.0.0.1{path}", options)
        return self.runner.run(asking, context=copy_context())  # as a server has one for each

    async def _ask(self, method: str, url: str, options: dict[str, Any]) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(self.app)) as client:
            return await client.request(method, url, **options)


def keyed(migrated: Path, home: Path, rates: RateLimits = FREE, **more: Any) -> Iterator[Keyed]:
    """Such an application over a fresh database."""
    shutil.copy(migrated, home / "headstart.db")
    settings = Settings(home=home, auth="keys", rates=rates, **more)
    container = bootstrap.build(settings, queue=Bell())
    with container.sessions.begin() as session:
        other = projects.create(session, "other").id
        keys = {"none": "", "malformed": "hs_what", "wrong": api_keys._minted()[2]}
        for scope in Scope:
            keys[scope.value] = _key(session, scope)
        keys["other"] = api_keys.create(session, other, name="o", scope=Scope.ADMIN)[1]
        keys["expired"] = _key(session, Scope.ADMIN, expires_in=-1)
        keys["revoked"] = _key(session, Scope.ADMIN)
        api_keys.revoke(session, keys["revoked"].split("_")[1])
    with asyncio.Runner() as runner:
        yield Keyed(create_app(container), container, keys, other, runner)
    container.close()


def _key(session: Session, scope: Scope, expires_in: float | None = None) -> str:
    _, text = api_keys.create(session, DEFAULT, name=scope, scope=scope, expires_in=expires_in)
    return text


def addresses(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Every method and address of the application, mounts too; ids are those of nothing."""
    for route in iter_route_contexts(app.routes):
        if isinstance(route.original_route, Mount):
            yield "GET", f"{route.path}/headstart.css"
            continue
        for method in sorted(route.methods or ()):
            yield method, filled(route.path)


def filled(path: str) -> str:
    """The path with an id of nothing in each of its places."""
    parts = path.replace("}", "{").split("{")
    return "".join(part if at % 2 == 0 else str(uuid4()) for at, part in enumerate(parts))
