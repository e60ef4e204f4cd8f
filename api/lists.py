"""Which page of a list a request asks for, by tokens that lead on in that very list."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Annotated, Any

from fastapi import Depends, Query, Request
from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field

from api.views.shapes import PageView
from core.domain.jobs import JobState
from core.errors import Detail, InvalidInput
from core.services.paging import NamedOrder, Order

PAGING = frozenset({"page_size", "page_token"})
LABEL = r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}:[^\x00]*$"
LONGEST_TOKEN = 2_000
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
OTHER_LIST = (
    "Pass next_page_token exactly as the last page gave it, and with the same filters and order, "
    "for it leads on in that list alone; or leave it out."
)


@dataclass(frozen=True, slots=True)
class Page:
    """Which page of which list the caller asks for."""

    limit: int
    after: str | None
    mark: str

    def of(self, items: Sequence[Any], token: str | None) -> PageView[Any]:
        """The page; `token` is the service's, of the next one."""
        following = None if token is None else f"{self.mark}.{token}"
        return PageView(items=list(items), next_page_token=following)


# No plain functions, for which each request would wait for a thread.
async def page(
    request: Request,
    page_size: Annotated[int, Query(ge=1, le=100, description="Items of a page.")] = 20,
    page_token: Annotated[
        str | None,
        Query(max_length=LONGEST_TOKEN, description="`next_page_token` of the page before."),
    ] = None,
) -> Page:
    """Reads `page_size` and `page_token`. Raises InvalidInput."""
    return _page(request, page_size, page_token)


async def long_page(
    request: Request,
    page_size: Annotated[int, Query(ge=1, le=1_000, description="Items of a page.")] = 100,
    page_token: Annotated[
        str | None,
        Query(max_length=LONGEST_TOKEN, description="`next_page_token` of the page before."),
    ] = None,
) -> Page:
    """The same, for lists of short lines."""
    return _page(request, page_size, page_token)


def _page(request: Request, size: int, token: str | None) -> Page:
    mark = _mark(request)
    if token is None:
        return Page(size, None, mark)
    of, _, after = token.partition(".")
    if of != mark:
        detail = Detail("page_token", "invalid", OTHER_LIST)
        raise InvalidInput(OTHER_LIST, details=[detail])
    return Page(size, after, mark)


def _mark(request: Request) -> str:
    """What tells this list from others: its address, filters and order."""
    told = sorted(each for each in request.query_params.multi_items() if each[0] not in PAGING)
    text = repr((request.url.path, told))
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:8]


def _spelled(moment: object) -> str:
    """Raises ValueError for what is no time as RFC 3339 spells it, such as a count of seconds."""
    if not (isinstance(moment, str) and RFC_3339.fullmatch(moment)):
        raise ValueError("write it like 2026-01-31T12:00:00Z")
    return moment


def _storable(moment: AwareDatetime) -> AwareDatetime:
    """In UTC. Raises ValueError for the ends of time."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("there is no such moment") from None


def labelled(asked: Sequence[str]) -> dict[str, str]:
    """The labels that a filter names, with their values."""
    found: dict[str, str] = {}
    for name, _, value in (each.partition(":") for each in asked):
        if found.setdefault(name, value) != value:
            message = f"No job has two values for '{name}'; name it once."
            raise InvalidInput(message, details=[Detail("query.label", "invalid", message)])
    return found


PageDep = Annotated[Page, Depends(page)]
LongPageDep = Annotated[Page, Depends(long_page)]
ByTime = Annotated[Order, Query(description="Which come first.")]
ByName = Annotated[NamedOrder, Query(description="Which come first.")]
States = Annotated[
    tuple[JobState, ...],
    Query(max_length=len(JobState), description="Any of these; repeat it for several."),
]
Label = Annotated[str, Field(pattern=LABEL, max_length=127)]
Labels = Annotated[
    tuple[Label, ...],
    Query(max_length=16, description="`name:value`; repeat it for several, which all must be so."),
]
Moment = Annotated[AwareDatetime, BeforeValidator(_spelled), AfterValidator(_storable)]
