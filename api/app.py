"""The HTTP application over a container: routers, pages, static files, problems, guard."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp

from api import contract, metrics, problems, security
from api.problems import Problem
from api.requests import Requests
from api.routes import (
    bundles,
    datasets,
    embedders,
    exports,
    health,
    intake,
    jobs,
    models,
    neighbours,
    s3_uploads,
    searches,
    statistics,
    streams,
    supernets,
    uploads,
    versions,
)
from api.watching import Watcher
from api.web import pages
from api.web import routers as web
from core.bootstrap import Container
from core.errors import AppError
from core.execution.metrics import Everything, count

RESOURCES = (
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
    jobs,
    streams,
    models,
    health,
)
DESCRIPTION = """\
Upload a labelled image dataset, let Headstart find the pretrained supernet nearest to it by
optimal-transport dataset distance, continue a differentiable architecture search from there, and
download a small trained model. Errors are RFC 9457 problems with a stable `code`. Every answer
has an `X-Request-Id`, the request's own if it has a safe one: tell it when you ask for help.
"""


class Application(FastAPI):
    """What FastAPI says of itself, completed, and every request seen."""

    request_lines = False  # whether each is logged

    def build_middleware_stack(self) -> ASGIApp:
        """Before what answers for bugs stands what sees every answer."""
        return Requests(super().build_middleware_stack(), lines=self.request_lines)

    def openapi(self) -> dict[str, Any]:
        """The document at `/openapi.json`."""
        if self.openapi_schema is None:
            self.openapi_schema = contract.document(super().openapi())
        return self.openapi_schema


def described() -> Application:
    """The routes of the API alone, which nothing needs to be there for."""
    app = Application(
        title="Headstart",
        version=_version(),
        description=DESCRIPTION,
        docs_url=None,  # the stock pages load scripts from elsewhere, which our policy forbids
        redoc_url=None,
        redirect_slashes=False,
    )
    for resource in RESOURCES:
        app.include_router(resource.router)
    return app


def create_app(container: Container) -> FastAPI:
    """The application; it owns nothing, whoever made the container closes it."""
    app = described()
    app.state.container = container
    app.state.watcher = Watcher(container.sessions)
    app.state.metrics = Everything(container.sessions)
    container.sessions.follow(count)
    app.request_lines = container.settings.log_format == "json"  # people would see nothing else
    app.include_router(metrics.router)
    app.include_router(web.router, include_in_schema=False)
    app.mount("/static", StaticFiles(directory=pages.STATIC), name="static")
    _answer_problems(app)
    app.add_middleware(
        security.Guard,
        respond=respond,
        any_host=container.settings.allow_unauthenticated_network,
    )
    return app


def _allowed(request: Request) -> list[str]:
    """The methods that this address takes."""
    routes = request.app.router.routes
    return [
        method
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes
        )
    ]


def _version() -> str:
    try:
        return version("headstart-nas")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "0"


def respond(request: Request, problem: Problem) -> Response:
    """The problem as a page for people who browse, as problem+json for everyone else."""
    if request.url.path.startswith("/v1/") or not pages.wanted(request):
        return problems.as_json(problem)
    return pages.problem(request, problem)


def _answer_problems(app: FastAPI) -> None:
    @app.exception_handler(AppError)
    def _ours(request: Request, error: AppError) -> Response:
        return respond(request, problems.of_error(error))

    @app.exception_handler(HTTPException)
    def _framework(request: Request, error: HTTPException) -> Response:
        if error.status_code == 405:  # the framework names the methods of one route only
            error.headers = {"Allow": ", ".join(_allowed(request))}
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
