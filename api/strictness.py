"""What a request has too much of: parameters that its route does not take, or takes once, and
fields that stand twice in one object of its body."""

import json
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any, get_origin
from urllib.parse import parse_qsl

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from api import problems
from core.errors import Detail

SEVERAL = (tuple, list, set, frozenset)
MOST = 20  # that are told of

# Where something stands: what it is in, and at which name or number. Spelled for what is told of
# alone, for names may be long and many things may stand under one.
_Place = tuple[()] | tuple["_Place", str | int]


async def strict(request: Request) -> None:
    """Raise InvalidInput where there is any; a dependency of every route of the interface."""
    route: APIRoute = request.scope["route"]
    found = list(islice(_of_query(request.scope["query_string"], route), MOST))
    if route.body_field is not None:
        found += islice(_of_body(await request.body()), MOST)
    if found:
        raise problems.refused(found)


def _of_query(query: bytes, route: APIRoute) -> Iterator[Detail]:
    if not query:
        return
    taken = dict(_parameters(route.dependant))
    given = Counter(name for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True))
    for name, times in given.items():
        if name not in taken:
            known = ", ".join(sorted(taken)) or "none"
            yield Detail(
                f"query.{name}", "extra_forbidden", f"there is no such parameter ({known})"
            )
        elif times > 1 and not taken[name]:
            yield Detail(f"query.{name}", "repeated", "give it once")


def _parameters(dependant: Dependant) -> Iterator[tuple[str, bool]]:
    """The query parameters that a route and what it depends on take, and whether several times."""
    for each in dependant.query_params:
        yield each.alias, get_origin(each.field_info.annotation) in SEVERAL
    for below in dependant.dependencies:
        yield from _parameters(below)


class _Object(dict[str, Any]):
    """A JSON object that knows which of its fields stood in it twice."""

    twice: tuple[str, ...] = ()


def _of_body(body: bytes) -> Iterator[Detail]:
    """The framework has read it as JSON before, in whatever encoding it guessed."""
    doubtful = False

    def noted(pairs: list[tuple[str, Any]]) -> _Object:
        nonlocal doubtful
        found = _Object(pairs)
        if len(found) < len(pairs):
            doubtful = True
            times = Counter(name for name, _ in pairs)
            found.twice = tuple(name for name, many in times.items() if many > 1)
        return found

    try:
        read = json.loads(body.decode("utf-8-sig") or "null", object_pairs_hook=noted)
    except ValueError:
        raise problems.malformed("it is not UTF-8") from None
    except RecursionError:  # the framework stood less deep in calls of its own
        raise problems.malformed(problems.TOO_DEEP) from None
    return _twice(read) if doubtful else iter(())


def _twice(read: Any) -> Iterator[Detail]:
    left: list[tuple[_Place, Any]] = [((), read)]
    while left:
        place, value = left.pop()
        if isinstance(value, _Object):
            for name in value.twice:
                yield Detail(_spelled((place, name)), "repeated", "it stands there more than once")
        within = value.items() if isinstance(value, dict) else enumerate(value)
        left += [((place, at), each) for at, each in within if isinstance(each, dict | list)]


def _spelled(place: _Place) -> str:
    parts: list[str] = []
    while place:
        place, at = place
        parts.append(str(at))
    return ".".join(reversed(parts))
