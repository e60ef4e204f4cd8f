"""The only table from our errors to HTTP statuses; spells problems as RFC 9457."""

import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from api.codes import CODES
from core import errors
from core.errors import AppError, Detail, InvalidInput

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 5
MOST = 100  # mistakes of a request that are told of
PASSING_STATUSES = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
# Gone in a moment, too.
PASSING_CODES = frozenset({"idempotency_key_in_flight", "upload_busy", "deleted_meanwhile"})

STATUS_OF: Mapping[type[AppError], int] = {
    AppError: 500,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.LimitReached: 429,
    errors.NotFound: 404,
    errors.Gone: 410,
    errors.InvalidInput: 422,
    errors.TooLarge: 413,
    errors.Conflict: 409,
    errors.Diverged: 422,
    errors.CorruptObject: 500,
    errors.Unavailable: 503,
}
# A code says it more precisely than its class does.
STATUS_OF_CODE: Mapping[str, int] = {code: known.status for code, known in CODES.items()}
# What versions of the standard library call differently, or not at all: tus 1.0 made one up.
TITLE_OF_STATUS: Mapping[int, str] = {
    413: "Content Too Large",
    422: "Unprocessable Content",
    460: "Checksum Mismatch",
}
CODE_OF_STATUS: Mapping[int, str] = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    410: "gone",
    412: "precondition_failed",
    413: "too_large",
    415: "unsupported_media_type",
    503: "unavailable",
}
SENTENCE_OF_STATUS: Mapping[int, str] = {
    400: "The request could not be read; check that its body is well-formed.",
    404: "There is nothing at this address.",
    405: "This address does not take this method; the Allow header lists those it does.",
    413: "The request is larger than this address accepts, or of more parts.",
}
TOO_DEEP = "it is nested too deeply"
BLANK = "Something went wrong on our side. The details are in the server's log."

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Problem:
    """What went wrong, for people (`title`, `detail`) and for programs (`code`, `errors`)."""

    status: int
    code: str
    detail: str
    errors: tuple[Detail, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def title(self) -> str:
        """The status in words."""
        if self.status in TITLE_OF_STATUS:
            return TITLE_OF_STATUS[self.status]
        try:
            return HTTPStatus(self.status).phrase
        except ValueError:
            return "Refused" if self.status < 500 else "Failed"


def passes(status: int, code: str) -> bool:
    """Whether asking again in a moment may help."""
    return status in PASSING_STATUSES or code in PASSING_CODES


def _retry(status: int, code: str) -> tuple[tuple[str, str], ...]:
    return (("Retry-After", str(RETRY_SECONDS)),) if passes(status, code) else ()


def of_error(error: AppError) -> Problem:
    """One of our own errors; its message is meant for the caller unless the fault is ours."""
    status = STATUS_OF_CODE.get(error.stable_code) or next(
        STATUS_OF[cls] for cls in type(error).__mro__ if cls in STATUS_OF
    )
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("request failed: %s", error.stable_code, exc_info=error)
        return Problem(status, error.stable_code, BLANK)
    headers = _retry(status, error.stable_code)
    if isinstance(error, errors.LimitReached):
        headers = (("Retry-After", str(max(1, math.ceil(error.retry_after)))),)
    elif status == HTTPStatus.UNAUTHORIZED:
        headers = (("WWW-Authenticate", "Bearer"),)
    return Problem(status, error.stable_code, error.message, error.details, headers)


def of_http(error: HTTPException) -> Problem:
    """One of the framework's own refusals."""
    status = error.status_code
    code = CODE_OF_STATUS.get(status, "bad_request" if status < 500 else "internal")
    if status == HTTPStatus.BAD_REQUEST and (why := _unreadable(error.__cause__)):
        return of_error(malformed(why))
    headers = tuple((error.headers or dict(_retry(status, code))).items())
    return Problem(status, code, SENTENCE_OF_STATUS.get(status, _sentence(error)), (), headers)


def _unreadable(cause: BaseException | None) -> str | None:
    """Why the framework could not read a body as JSON, where it says no more than that."""
    if isinstance(cause, UnicodeDecodeError):
        return f"it is not UTF-8, from byte {cause.start} on"
    if isinstance(cause, RecursionError):
        return TOO_DEEP
    return "a number in it is too long" if isinstance(cause, ValueError) else None


def of_validation(error: RequestValidationError) -> Problem:
    """A request whose parts do not have the documented shape: all of them at once."""
    found = error.errors()
    if any(each["loc"][:1] == ("path",) for each in found):  # as if nothing had this id
        return Problem(404, "not_found", SENTENCE_OF_STATUS[404])
    for each in found:
        if each["type"] == "json_invalid":
            why = str(each["ctx"]["error"]).lower()
            return of_error(malformed(f"{why}, at character {each['loc'][1]}"))
    return of_error(invalid(found))


def malformed(why: str) -> InvalidInput:
    """The error for a body that is no JSON."""
    message = f"The body is not JSON: {why}. Nothing was read from it."
    return InvalidInput(message, code="malformed_json", details=[Detail("body", "malformed", why)])


def invalid(found: Sequence[Mapping[str, Any]], *, origin: str = "body") -> InvalidInput:
    """Pydantic's findings as one of our own errors."""
    told = found[:MOST]  # a body may have a mistake in every few bytes
    return refused([_detail(each, origin) for each in told if not _follows(each, told)])


def refused(details: Sequence[Detail]) -> InvalidInput:
    """The error for a request of which all this is wrong."""
    listed = "; ".join(f"{each.place}: {each.message}" for each in details[:3])
    more = f"; and {len(details) - 3} more" if len(details) > 3 else ""
    message = f"The request is not acceptable. {listed}{more}."
    return InvalidInput(message, code="validation_error", details=details)


def body_of(problem: Problem) -> dict[str, Any]:
    """The problem for programs, as `api.views.problems` describes it."""
    return {
        "type": f"urn:headstart:problem:{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
        "errors": [
            {"place": each.place, "code": each.code, "message": each.message}
            for each in problem.errors
        ],
        **_instance(),
    }


def as_json(problem: Problem, **also: str) -> Response:
    """The problem for programs, with what a protocol wants beside it."""
    return Response(
        # A lone surrogate in an echoed name stays an escape.
        json.dumps(body_of(problem) | also, ensure_ascii=True),
        status_code=problem.status,
        headers=dict(problem.headers),
        media_type=MEDIA_TYPE,
    )


def _instance() -> dict[str, str]:
    """Which request it was, for whoever looks for it in the log."""
    found = structlog.contextvars.get_contextvars().get("request_id")
    return {} if found is None else {"instance": f"urn:headstart:request:{found}"}


def _sentence(error: HTTPException) -> str:
    return str(error.detail) if error.status_code < 500 else BLANK


def _detail(found: Mapping[str, Any], origin: str) -> Detail:
    return Detail(_place(found["loc"]) or origin, str(found["type"]), _message(found))


def _follows(found: Mapping[str, Any], among: Sequence[Mapping[str, Any]]) -> bool:
    """Whether it only says that a list is short of the items that others say are wrong."""
    depth = len(found["loc"])
    return found["type"] == "too_short" and any(
        len(each["loc"]) > depth and each["loc"][:depth] == found["loc"] for each in among
    )


def _place(location: Sequence[object]) -> str:
    """`body.training.epochs` reads better without `body`; `query.name` keeps its origin."""
    parts: Iterable[object] = location[1:] if location[:1] == ("body",) else location
    return ".".join(map(str, parts))


def _message(found: Mapping[str, Any]) -> str:
    message = str(found["msg"]).removeprefix("Value error, ").rstrip(".")
    return message[:1].lower() + message[1:]
