"""What a request makes its answer depend on: the answer it has (RFC 9110), and how long it waits
for another (RFC 7240)."""

import re
from collections.abc import Callable

from fastapi import Request, Response

FOR_EVER = "private, max-age=31536000, immutable"
LONGEST_WAIT = 30  # seconds: proxies cut connections that are silent for a minute
TAG = re.compile(r'(?:W/)?("[^"]*")')
WAIT = re.compile(r'\s*wait\s*=\s*"?(\d{1,9})"?\s*(?:;.*)?', re.IGNORECASE)


def matches(request: Request, tag: str) -> bool:
    """Whether the caller has the answer of this entity tag, in quotation marks.

    Compared weakly: proxies that compress make tags weak.
    """
    given = ", ".join(request.headers.getlist("if-none-match"))
    return given.strip() == "*" or tag.removeprefix("W/") in TAG.findall(given)


def unchanged(tag: str, *, cache: str) -> Response:
    """304, for those whom `matches` finds."""
    return Response(status_code=304, headers={"ETag": tag, "Cache-Control": cache})


def answered(
    request: Request, tag: str, make: Callable[[], Response], *, cache: str = FOR_EVER
) -> Response:
    """What `make` makes, under this tag; made for those alone who do not have it."""
    if matches(request, tag):
        return unchanged(tag, cache=cache)
    response = make()
    response.headers["ETag"], response.headers["Cache-Control"] = tag, cache
    return response


def wait_of(request: Request) -> int:
    """How many seconds the caller would wait for news (`Prefer: wait=N`), and we let it.

    Zero when it does not say so, or not in a form that can be read: preferences never fail.
    """
    given = ",".join(request.headers.getlist("prefer")).split(",")
    found = next((said for each in given if (said := WAIT.fullmatch(each))), None)
    return 0 if found is None else min(int(found[1]), LONGEST_WAIT)
