"""Liveness (this process answers) and readiness (what it stands on answers too)."""

from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Response

from api import contract
from api.deps import ContainerDep
from api.views.shapes import View
from core.errors import Unavailable

router = APIRouter(tags=["health"])

AT_ONCE = 4  # who have store and queue asked; others wait for them


class HealthView(View):
    """`ok`."""

    status: Literal["ok"]


class ReadinessView(View):
    """How the process stands, and what it stands on: `ok`, or what is wrong with it."""

    status: Literal["ok", "unavailable", "leaving"]
    checks: dict[str, str]


NOT_READY = {
    "model": ReadinessView,
    "description": "Something below does not answer, or the process is leaving.",
    **contract.headers("Retry-After"),
}


# No plain function: who asks would take a process for dead whose threads all wait for a database.
@router.get("/healthz", operation_id="health_live")
async def healthy() -> HealthView:
    """The process runs."""
    return HealthView(status="ok")


def _beyond(container: ContainerDep) -> dict[str, str]:
    """How what is no database answers: `ok`, or what is wrong with it.

    Before there is a session: what does not answer takes its time to be told from what does, and
    would have the connections, or all the threads, of those who ask for something else.
    """
    return {"store": _state(container.store.check), "queue": _state(container.queue.check)}


BeyondDep = Annotated[dict[str, str], Depends(_beyond, max_concurrency=AT_ONCE)]


@router.get("/readyz", operation_id="health_ready", responses={503: NOT_READY})
def ready(container: ContainerDep, beyond: BeyondDep, response: Response) -> ReadinessView:
    """Database, store and queue answer; 503 names those that do not."""
    states = {"database": _state(container.sessions.check), **beyond}
    down = any(state != "ok" for state in states.values())
    if down:
        response.status_code = 503
        response.headers["Retry-After"] = "5"
    return ReadinessView(status="unavailable" if down else "ok", checks=states)


def _state(check: Callable[[], None]) -> str:
    try:
        check()
    except Unavailable as error:
        return error.message
    return "ok"
