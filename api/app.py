"""The HTTP application over a container: routers, pages, static files, problems, guard."""

import hashlib
import json
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from threading import Lock
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp

from api import browsers, conditional, contract, methods, metrics, problems, security
from api.identity import Identify, operator
from api.polling import Polls
from api.problems import Problem
from api.recognition import Recogniser
from api.requests import Requests
from api.routes import (
    audit,
    bundles,
    datasets,
    embedders,
    exports,
    health,
    inference,
    intake,
    jobs,
    keys,
    me,
    models,
    neighbours,
    prunings,
    s3_uploads,
    searches,
    statistics,
    streams,
    supernets,
    uploads,
    versions,
    webhooks,
)
from api.strictness import strict
from api.watching import Watcher
from api.web import pages
from api.web import routers as web
from core import tracing
from core.bootstrap import Container
from core.errors import AppError
from core.execution.metrics import Everything, count
from core.inference.batching import Inference

RESOURCES = (
    jobs,  # first: routes are tried in this order, and most requests are polls
    intake,
    datasets,
    exports,
    versions,
    uploads,
    s3_uploads,
    statistics,
    neighbours,
    embedders,
    bundles,
    supernets,
    searches,
    prunings,
    streams,
    models,
    inference,
    webhooks,
    keys,
    audit,
    me,
    health,
)
UNTRACED = frozenset({"/healthz", "/readyz", "/metrics"})  # asked every few seconds, for ever
DESCRIPTION = """\
Upload a labelled image dataset, let Headstart find the pretrained supernet nearest to it by
optimal-transport dataset distance, continue a differentiable architecture search from there, and
download a small trained model. Errors are RFC 9457 problems with a stable `code`. Every answer
has an `X-Request-Id`, the request's own if it has a safe one: tell it when you ask for help.
"""


class Application(FastAPI):
    """What FastAPI says of itself, completed, and every request seen."""

    request_lines = False  # whether each is logged
    _describing = Lock()

    def build_middleware_stack(self) -> ASGIApp:
        """Before what answers for bugs stands what sees every answer."""
        return Requests(super().build_middleware_stack(), lines=self.request_lines)

    def openapi(self) -> dict[str, Any]:
        """The document at `/openapi.json`; the first time it takes a second."""
        with self._describing:
            if self.openapi_schema is None:
                self.openapi_schema = contract.document(super().openapi())
            return self.openapi_schema

    @cached_property
    def interface(self) -> bytes:
        """The same, ready to be sent."""
        return json.dumps(self.openapi(), ensure_ascii=False, separators=(",", ":")).encode()


def described() -> Application:
    """The routes of the API alone, which nothing needs to be there for."""
    app = Application(
        title="Headstart",
        version=_version(),
        description=DESCRIPTION,
        openapi_url=None,  # the stock route holds up everybody while the document is made
        docs_url=None,  # the stock pages load scripts from elsewhere, which our policy forbids
        redoc_url=None,
        redirect_slashes=False,
        telemetry={
            "tracer_provider": tracing.provider(),
            "exclude": lambda scope: scope.get("path") in UNTRACED,
            "operation_spans": False,
            "metrics": False,  # /metrics has them
            "logs": False,
            "auto_configure": False,
        },
    )
    for resource in RESOURCES:
        app.include_router(resource.router, dependencies=[Depends(strict)])
    return app


def create_app(container: Container) -> FastAPI:
    """The application; it owns nothing, whoever made the container closes it."""
    app = described()
    app.state.container = container
    app.state.watcher = Watcher(container.sessions)
    app.state.polls = Polls(container.sessions, app.state.watcher.thread)
    app.state.metrics = Everything(container.sessions)
    app.state.inference = Inference(container.settings.inference)
    container.sessions.follow(count)
    app.request_lines = container.settings.log_format == "json"  # people would see nothing else
    app.add_route("/openapi.json", openapi, include_in_schema=False)
    app.include_router(metrics.router, dependencies=[Depends(operator)])
    app.include_router(web.router, include_in_schema=False)
    app.mount("/static", StaticFiles(directory=pages.STATIC), name="static")
    _answer_problems(app)
    app.add_middleware(conditional.Tags)
    app.add_middleware(methods.Heads)
    app.add_middleware(
        security.Guard,
        respond=respond,
        any_host=container.settings.allow_unauthenticated_network
        or container.settings.auth == "keys",
        inference_bytes=container.settings.inference.body_bytes,
    )
    app.state.recogniser = Recogniser()
    app.add_middleware(
        Identify,
        respond=respond,
        recogniser=app.state.recogniser,
        rates=container.settings.rates,
    )
    return app


def openapi(request: Request) -> Response:
    """What the interface is, for programs. In a thread, as it is no coroutine."""
    text = request.app.interface
    return conditional.answered(
        request,
        f'"{hashlib.sha256(text).hexdigest()[:32]}"',
        lambda: Response(text, media_type=contract.JSON),
        cache=conditional.NO_CACHE,
    )


def _version() -> str:
    try:
        return version("headstart-nas")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "0"


def respond(request: Request, problem: Problem) -> Response:
    """The problem as a page for people who browse, as problem+json for everyone else."""
    path = request.scope["path"]
    if path == "/v2" or path.startswith("/v2/"):  # as the Open Inference Protocol has it, too
        return problems.as_json(problem, error=problem.detail)
    if path.startswith("/v1/") or not pages.wanted(request):
        return problems.as_json(problem)
    if problem.status == 401 and "hx-request" not in request.headers:
        return pages.see(browsers.door(request))
    return pages.problem(request, problem)


def _answer_problems(app: FastAPI) -> None:
    @app.exception_handler(AppError)
    def _ours(request: Request, error: AppError) -> Response:
        return respond(request, problems.of_error(error))

    @app.exception_handler(HTTPException)
    def _framework(request: Request, error: HTTPException) -> Response:
        if error.status_code == 405:  # the framework names the methods of one route only
            error.headers = {"Allow": ", ".join(methods.allowed(request.scope))}
            if request.method == "OPTIONS":
                return Response(status_code=204, headers=error.headers)
        return respond(request, problems.of_http(error))

    @app.exception_handler(RequestValidationError)
    def _malformed(request: Request, error: RequestValidationError) -> Response:
        return respond(request, problems.of_validation(error))

    @app.exception_handler(Exception)
    def _bug(request: Request, _: Exception) -> Response:
        # Answered outside the guard, so it takes the headers along; `Requests` logs the rest.
        response = respond(request, Problem(500, "internal", problems.BLANK))
        response.headers.update(security.HEADERS)
        return response
