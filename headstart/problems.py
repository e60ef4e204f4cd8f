"""What a call can end with when it does not succeed: one tree, rooted in `Problem`.

Nothing here ever holds an API key: what is raised can be logged as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headstart.schema import JobView, ProblemDetailView

# The server was not there, had too much to do, or is being replaced.
PASSING_STATUSES = frozenset({429, 502, 503, 504})
SPELLED = frozenset({"place", "code", "message"})
PASSING_CODES = frozenset({"idempotency_key_in_flight"})


class Problem(Exception):
    """A refusal: `detail` says what is wrong and what helps, `code` is stable.

    Attributes:
        status: the HTTP status, or None when no server said it.
        errors: everything that is wrong, each with `place`, `code` and `message`.
        request_id: names the request in the service's logs.
        retry_after: seconds after which to ask again, where the server said so.
    """

    def __init__(
        self,
        detail: str,
        *,
        code: str,
        status: int | None = None,
        errors: Sequence[ProblemDetailView] = (),
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code
        self.status = status
        self.errors = tuple(errors)
        self.request_id = request_id
        self.retry_after = retry_after

    @property
    def passing(self) -> bool:
        """Whether asking again may help."""
        return self.status in PASSING_STATUSES or self.code in PASSING_CODES

    @property
    def details(self) -> tuple[str, ...]:
        """`errors`, a line each."""
        return tuple(f"{each['place']}: {each['message']}" for each in self.errors)

    def __str__(self) -> str:
        named = self.code if self.request_id is None else f"{self.code}, request {self.request_id}"
        listed = "".join(f"\n  {line}" for line in self.details if line not in self.detail)
        return f"{self.detail} ({named}){listed}"


class NotFound(Problem):
    """404 or 410: there is none, or none any more."""


class Conflict(Problem):
    """409: not as things stand."""


class Unauthenticated(Problem):
    """401: no key, or not one that counts."""


class Forbidden(Problem):
    """403: the key is good, and not for this."""


class Invalid(Problem):
    """400 or 422: `errors` lists all that is wrong with the request."""


class RateLimited(Problem):
    """429: too many requests, or a quota is used up; `retry_after` says for how long."""


class Unreachable(Problem):
    """No answer came: there is no server, or the connection broke."""

    def __init__(self, detail: str, *, passing: bool = True) -> None:
        super().__init__(detail, code="unreachable")
        self._passing = passing

    @property
    def passing(self) -> bool:
        """False where no waiting will help, such as with a certificate that is not trusted."""
        return self._passing


class Timeout(Problem):
    """What was waited for has not ended in time; it goes on."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, code="timeout")


class JobFailed(Problem):
    """A job failed: `code` and `detail` are its own, `job` is how it ended."""

    def __init__(self, job: JobView, errors: Sequence[ProblemDetailView] = ()) -> None:
        detail = job["error_message"] or "The job failed; the service's log says more."
        super().__init__(detail, code=job["error_code"] or "failed", errors=errors)
        self.job = job


class JobCancelled(Problem):
    """A job was cancelled before it had done its work."""

    def __init__(self, job: JobView) -> None:
        super().__init__("The job was cancelled.", code="cancelled")
        self.job = job


BY_STATUS: Mapping[int, type[Problem]] = {
    400: Invalid,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: NotFound,
    422: Invalid,
    429: RateLimited,
}


def of_answer(status: int, headers: Mapping[str, str], body: Any) -> Problem:
    """What an answer of 300 or more says; `body` is None where it is no JSON."""
    if status < 400:
        detail = (
            f"The server answered {status}, to go to {headers.get('location')}. Redirects are not "
            "followed, so that no key goes astray: name the final address as the URL."
        )
        return Problem(detail, code="redirected", status=status)
    told = body if isinstance(body, dict) else {}
    return BY_STATUS.get(status, Problem)(
        str(told.get("detail") or f"The server answered {status}."),
        code=str(told.get("code") or "bad_answer"),
        status=status,
        errors=_errors(told.get("errors")),
        request_id=headers.get("x-request-id"),
        retry_after=_seconds(headers.get("retry-after")),
    )


def _errors(told: Any) -> list[ProblemDetailView]:
    """Those that are as this service spells them; a gateway may spell its own otherwise."""
    return [*filter(_is_ours, told)] if isinstance(told, list) else []


def _is_ours(error: Any) -> bool:
    return isinstance(error, dict) and error.keys() >= SPELLED


def _seconds(spelled: str | None) -> float | None:
    """Of a Retry-After in seconds; a date, which this service never sends, counts as none."""
    return (
        float(spelled) if spelled is not None and spelled.isascii() and spelled.isdigit() else None
    )
