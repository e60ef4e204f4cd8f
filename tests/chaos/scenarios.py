"""The list of faults: how often each is made, and by what."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from core import crash_points
from tests.chaos import (
    cancels,
    claims,
    client,
    commits,
    damages,
    kills,
    outages,
    searches,
    stops,
    surroundings,
)
from tests.chaos.processes import Servers
from tests.chaos.report import Row


@dataclass(frozen=True, slots=True)
class Scenario:
    """One fault; `run` is given the servers, how often to make it, and a seed."""

    name: str
    runs: int
    run: Callable[[Servers, int, int], Row]


def _points() -> Iterator[Scenario]:
    for point in crash_points.POINTS:
        yield Scenario(f"point:{point}", 20, partial(kills.points, points=(point,)))


SCENARIOS = (
    *_points(),
    Scenario("kills", 100, kills.at_random),
    Scenario("searches", 50, searches.interrupted),
    Scenario("pauses", 200, stops.pauses),
    Scenario("redis", 50, outages.redis_faults),
    Scenario("postgres", 50, outages.postgres_restarts),
    Scenario("commits", 50, commits.commits),
    Scenario("idempotency", 1000, client.idempotency),
    Scenario("drains", 100, stops.drains),
    Scenario("cancels", 300, cancels.cancels),
    Scenario("disk", 20, surroundings.disk),
    Scenario("clocks", 40, surroundings.clocks),
    Scenario("corruption", 1000, damages.corruption),
    Scenario("poison", 30, cancels.poisons),
    Scenario("claims", 5000, claims.claims),
)


def chosen(names: str) -> list[Scenario]:
    """Those whose name begins with one of these, all if there are none. Raises KeyError."""
    wanted = [name for name in names.split(",") if name]
    for name in wanted:
        if not any(each.name.startswith(name) for each in SCENARIOS):
            raise KeyError(name)
    return [each for each in SCENARIOS if not wanted or each.name.startswith(tuple(wanted))]
