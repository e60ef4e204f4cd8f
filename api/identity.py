"""Who asks, found out before anything else of a request is looked at; and what comes of it, kept.

Nothing is reached without a key but what stands in `OPEN`: a new route needs no line to be closed.
"""

import hmac
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Final, cast

import structlog
from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import SecretStr
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import browsers, problems, security
from api.buckets import Buckets
from api.problems import Problem
from api.recognition import Look, Recogniser
from api.requests import is_upload, operation_of, who
from core.bootstrap import Container
from core.config import RateLimits
from core.domain.identity import AT_THE_MACHINE, DEFAULT, NOBODY, Identity
from core.domain.identity import Scope as KeyScope
from core.errors import AppError, Forbidden, LimitReached
from core.services import api_keys, audit, browser_sessions

# What anybody may ask for. `/openapi.json` tells of the software, not of the installation.
OPEN: Final = frozenset(
    {
        "/healthz",
        "/readyz",
        "/v2/health/live",
        "/v2/health/ready",
        "/openapi.json",
        browsers.LOGIN,
    }
)
OPEN_FOLDER: Final = "/static/"
METRICS: Final = "/metrics"
READS_BY_POST: Final = frozenset({"/v1/searches:estimate"})
KEPT: Final = frozenset({401, 403})  # refusals that the audit log has, of those it can name
SHOWN: Final = 200  # characters of a path

log = structlog.stdlib.get_logger(__name__)


def identity_of(request: Request) -> Identity:
    """In whose name the request is carried out."""
    return cast(Identity, request.state.identity)


async def known_still(request: Request) -> None:
    """For whoever answers for long: the key or login is as good as when the request came, but for
    the seconds that it is recognised. Raises Unauthenticated, Unavailable."""
    if again := getattr(request.state, "again", None):
        await again()


async def administrator(request: Request) -> Identity:
    """The same, if it may administer its project. Raises Forbidden."""
    identity = identity_of(request)
    _demand(identity, KeyScope.ADMIN)
    return identity


async def operator(request: Request) -> Identity:
    """The same, if it may know of the whole installation. Raises Forbidden."""
    identity = await administrator(request)
    if not operates(identity):
        message = "This tells of the whole installation: it needs a key of the project default."
        raise Forbidden(message)
    return identity


def operates(identity: Identity) -> bool:
    """Whether it may know of the whole installation."""
    return identity.project_id == DEFAULT and identity.scope.covers(KeyScope.ADMIN)


IdentityDep = Annotated[Identity, Depends(identity_of)]
AdministratorDep = Annotated[Identity, Depends(administrator)]


class Identify:
    """Lets nobody in who shows no key, nobody do what its scope does not cover, and nobody do it
    more often than is set. Writes the audit log before an answer to an unsafe request leaves."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        respond: Callable[[Request, Problem], Response],
        recogniser: Recogniser,
        rates: RateLimits,
    ) -> None:
        self.app = app
        self._respond = respond
        self._recogniser = recogniser
        self._failures = Buckets(rates.failures_per_second, rates.failures_burst)
        self._writes = Buckets(rates.writes_per_second, rates.writes_burst)
        self._reads = (
            None
            if rates.reads_per_second is None
            else Buckets(rates.reads_per_second, rates.reads_burst)
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer why not."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        state = scope.setdefault("state", {})
        state["identity"] = NOBODY
        try:
            state["identity"] = await self._admitted(request)
        except AppError as error:
            problem = problems.of_error(error)
            await self._note(request, problem.status)
            await self._respond(request, problem)(scope, receive, security.hardened(send))
            return
        scope["query_string"] = browsers.without_token(scope["query_string"])
        with structlog.contextvars.bound_contextvars(**who(scope)):
            await self.app(scope, receive, self._noting(request, send))

    async def _admitted(self, request: Request) -> Identity:
        container: Container = request.app.state.container
        if container.settings.auth == "none":
            return AT_THE_MACHINE
        if is_open(request.scope["path"]):
            if _changes(request):
                self._be_patient(_address(request))
            return NOBODY
        if _scrapes(request, container.settings.metrics_token):
            return AT_THE_MACHINE
        identity = await self._recognised(request, container)
        request.state.identity = identity  # a refusal from here on has a name
        self._limit(request, identity)  # first: refusals are kept, too
        _demand(identity, KeyScope.WRITE if _changes(request) else KeyScope.READ)
        return identity

    async def _recognised(self, request: Request, container: Container) -> Identity:
        given = request.headers.getlist("authorization")
        cookie = None if given else browsers.cookie_of(request)
        # Of two keys a proxy and we might each look at another.
        if cookie is None and len(given) != 1:
            self._be_patient(_address(request))
            raise api_keys.unknown()
        look: Look = api_keys.identify if cookie is None else browser_sessions.identify
        secret = _bearer(given[0]) if cookie is None else cookie
        if not self._recogniser.knew(secret):
            self._be_patient(_address(request))
        again = partial(self._recogniser.identify, container.sessions, look, secret)
        identity = await again()
        request.state.again = again
        if cookie is not None:
            self._check_page(request, cookie)
        return identity

    def _check_page(self, request: Request, cookie: str) -> None:
        if _changes(request) and not browsers.proves(request, cookie):
            message = "The page that this comes from is out of date: load it again."
            raise Forbidden(message, code="csrf")
        browsers.csrf_token.set(browser_sessions.csrf_of(cookie))

    def _be_patient(self, address: str) -> None:
        """Raise LimitReached where too many have failed from there lately."""
        if wait := self._failures.wait(address):
            message = "Too many requests from this address had no valid key: wait a little."
            raise LimitReached(message, retry_after=wait)

    def _limit(self, request: Request, identity: Identity) -> None:
        reads = not _changes(request) or is_upload(request.method, request.scope["path"])
        buckets = self._reads if reads else self._writes
        if buckets is not None and (wait := buckets.take(identity.key_id or "")):
            message = "This key asks for more than is taken in such a time: ask again in a moment."
            raise LimitReached(message, retry_after=wait)

    def _noting(self, request: Request, send: Send) -> Send:
        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self._note(request, message["status"])
            await send(message)

        return noting

    async def _note(self, request: Request, status: int) -> None:
        # A login leaves rows, too: whoever has a key may not log in without an end.
        if status == 401 or (_changes(request) and is_open(request.scope["path"])):
            self._failures.take(_address(request))
        if not _changes(request) or (status >= 400 and status not in KEPT):
            return
        entry = _entry(request, status)
        if status in KEPT and identity_of(request).key_id is None:
            # Rows of theirs would let anybody fill the database, from any number of addresses.
            log.warning("stranger_refused", **entry)
        else:
            await run_in_threadpool(_keep, request, entry)


def is_open(path: str) -> bool:
    """Whether nobody is asked for a key there."""
    return path in OPEN or path.startswith(OPEN_FOLDER)


def only_reads(method: str, path: str) -> bool:
    """Whether nothing is another thing afterwards."""
    asks = path in READS_BY_POST or security.is_inference(method, path)
    return method in security.SAFE_METHODS or asks


def _changes(request: Request) -> bool:
    # As the routes see it: a URL made of it has another path, without tabs for one.
    return not only_reads(request.method, request.scope["path"])


def _demand(identity: Identity, wanted: KeyScope) -> None:
    if not identity.scope.covers(wanted):
        raise Forbidden(f"This key's scope is {identity.scope}, and this needs {wanted}.")


def _scrapes(request: Request, tokens: SecretStr | None) -> bool:
    """Whether it is Prometheus, by one of the tokens that are good for this address alone."""
    given = request.headers.getlist("authorization")
    if tokens is None or request.scope["path"] != METRICS or _changes(request) or len(given) != 1:
        return False
    shown = _shown(given[0]).encode()
    good = [each.strip().encode() for each in tokens.get_secret_value().split(",")]
    return any(hmac.compare_digest(shown, each) for each in good)


def _bearer(authorization: str) -> str:
    """The key that is shown; what has no form of one, such as a browser's cookie, is none."""
    secret = _shown(authorization)
    return secret if api_keys.parsed(secret) else ""


def _shown(authorization: str) -> str:
    kind, _, secret = authorization.partition(" ")
    return secret.strip() if kind.lower() == "bearer" else ""


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _entry(request: Request, status: int) -> dict[str, Any]:
    identity = identity_of(request)
    operation = operation_of(request.scope)
    return {
        "action": request.method if operation == "none" else operation,
        "actor": None if identity is NOBODY else identity.actor,
        "project_id": None if identity is NOBODY else identity.project_id,
        "target": request.scope["path"][:SHOWN],
        "status": status,
        "request_id": structlog.contextvars.get_contextvars().get("request_id"),
        "address": _address(request),
    }


def _keep(request: Request, entry: dict[str, Any]) -> None:
    try:
        with request.app.state.container.sessions.begin() as session:
            audit.record(session, **entry)
    except AppError:  # what was done is done: the log of the process has it at least
        log.exception("audit_entry_lost", **entry)
