"""Liveness (this process answers) and readiness (what it stands on answers too)."""

from collections.abc import Callable

from fastapi import APIRouter, Response

from api.deps import ContainerDep
from core.errors import Unavailable

router = APIRouter(tags=["health"])


@router.get("/healthz")
def healthy() -> dict[str, str]:
    """The process runs."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"description": "Something below does not answer."}})
def ready(container: ContainerDep, response: Response) -> dict[str, object]:
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
    return {"status": "unavailable" if down else "ok", "checks": states}


def _state(check: Callable[[], None]) -> str:
    try:
        check()
    except Unavailable as error:
        return error.message
    return "ok"
