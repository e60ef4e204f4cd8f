"""Liveness (this process answers) and readiness (what it stands on answers too)."""

from collections.abc import Callable
from typing import Literal

from fastapi import APIRouter, Response

from api import contract
from api.deps import ContainerDep
from api.views.shapes import View
from core.errors import Unavailable

router = APIRouter(tags=["health"])


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


@router.get("/healthz", operation_id="health_live")
def healthy() -> HealthView:
    """The process runs."""
    return HealthView(status="ok")


@router.get("/readyz", operation_id="health_ready", responses={503: NOT_READY})
def ready(container: ContainerDep, response: Response) -> ReadinessView:
    """Database, store and queue answer; 503 names those that do not."""
    checks: dict[str, Callable[[], None]] = {
        "database": container.sessions.check,
        "store": container.store.check,
        "queue": container.queue.check,
    }
    states = {name: _state(check) for name, check in checks.items()}
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
