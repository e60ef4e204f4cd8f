"""What polling costs: requests per second and latency of `GET /v1/jobs/{id}`, beside a bare route.

Run from the project root, with nothing else on the machine and Debian's `wrk` installed::

    python -m tests.benchmarks.bench_polling [--seconds 60] [--rounds 3] [--processes 2]

A PostgreSQL of its own and the deployed application as the image starts it, in so many processes,
share the machine with wrk; callers show a key, as in a cluster. Each round asks, in turn, a bare
FastAPI route that reads the same row, our route, our route with the entity tag that it gave (304),
and our route over four times as many connections. Prints a table and writes
`var/bench/polling.json`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from uuid import uuid4

import httpx

from api.search_bodies import SearchBody
from core.bootstrap import build
from core.config import Settings
from core.db import schema
from core.domain.identity import DEFAULT, Scope
from core.domain.jobs import JobKind
from core.services import api_keys, jobs, wire
from tests.benchmarks.deployed import database, served
from tests.benchmarks.polling.wrk import Load, load

OUT = Path("var/bench/polling.json")
CONNECTIONS = 64
POLLED = 200  # jobs
BARE, NOTHING = "tests.benchmarks.polling.bare:create", "/v1/jobs/nothing"
BARE_ROUTE, ROUTE, UNCHANGED, OVERLOAD = "bare route", "our route", "304", "4x connections"

SPEC = wire.dump(SearchBody(dataset_id=uuid4()).to_spec("oriented-energy@1"))


def seeded(told: dict[str, str]) -> tuple[list[str], str]:
    """The paths of many jobs that wait, and a key to ask for them with."""
    with contextlib.ExitStack() as stack:
        for name, value in told.items():
            stack.callback(os.environ.pop, name, None)
            os.environ[name] = value
        settings = Settings()
        schema.migrate(settings.database)
        container = build(settings)
        stack.callback(container.close)
        with container.sessions.within(DEFAULT).begin() as session:
            _, key = api_keys.create(session, DEFAULT, name="polls", scope=Scope.READ)
            made = [
                jobs.submit(session, kind=JobKind.SEARCH, spec=SPEC, dataset_id=None)
                for _ in range(POLLED)
            ]
        return [f"/v1/jobs/{each.id}" for each in made], key


def tagged(url: str, paths: Sequence[str], key: str) -> list[tuple[str, str]]:
    """The paths with the entity tags that they have."""
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=url, headers=headers, trust_env=False) as http:
        return [(each, http.get(each).headers["etag"]) for each in paths]


def rounds(folder: Path, told: dict[str, str], given: argparse.Namespace) -> dict[str, list[Load]]:
    """Every measurement of every round, side by side."""
    paths, key = seeded(told)
    plain = [(each, "") for each in paths]
    found: dict[str, list[Load]] = {}

    def measure(name: str, url: str, lines: list[tuple[str, str]], times: int = 1) -> None:
        print(f"{name} ...", file=sys.stderr, flush=True)
        made = load(
            url,
            lines,
            folder=folder,
            connections=times * CONNECTIONS,
            seconds=given.seconds,
            key=key,
        )
        found.setdefault(name, []).append(made)

    for _ in range(given.rounds):
        at = {"processes": given.processes}
        with served(told, folder / "bare", factory=BARE, ready=NOTHING, **at) as (url, _):
            load(url, plain, folder=folder, connections=8, seconds=2, key=key)
            measure(BARE_ROUTE, url, plain)
        with served(told, folder / "ours", **at) as (url, _):
            load(url, plain, folder=folder, connections=8, seconds=2, key=key)
            measure(ROUTE, url, plain)
            measure(UNCHANGED, url, tagged(url, paths, key))
            measure(OVERLOAD, url, plain, 4)
    return found


def bars(found: dict[str, list[Load]]) -> list[tuple[str, str, bool]]:
    """Each bar, what was measured, whether it was met."""
    ours, bare, unchanged = found[ROUTE], found[BARE_ROUTE], found[UNCHANGED]
    speed = median(each.per_second for each in ours)
    p99 = median(each.p99_ms for each in ours)
    share = median(a.per_second / b.per_second for a, b in zip(ours, bare, strict=True))
    gain = median(a.per_second / b.per_second for a, b in zip(unchanged, ours, strict=True))
    over = median(a.per_second / b.per_second for a, b in zip(unchanged, bare, strict=True))
    calm = [*bare, *ours, *unchanged]
    return [
        ("requests per second >= 600", f"{speed:.0f}", speed >= 600),
        ("p99 <= 150 ms", f"{p99:.0f} ms", p99 <= 150),
        ("of a bare route >= .7", f"{share:.2f}", share >= 0.7),
        ("304 against 200 >= 1.5", f"{gain:.2f}", gain >= 1.5),
        ("304 against a bare route >= 1.5", f"{over:.2f}", over >= 1.5),
        ("200 and 304 alone, none lost", *_answered(calm, {200, 304})),
        (
            "overload: 200, 429, 503 alone, none lost",
            *_answered(found[OVERLOAD], {200, 429, 503}),
        ),
    ]


def _answered(loads: Sequence[Load], fine: set[int]) -> tuple[str, bool]:
    """What came back, and whether that is fine."""
    statuses = {status for each in loads for status in each.statuses}
    lost = sum(each.lost for each in loads)
    return f"{sorted(statuses)}, {lost} lost", statuses <= fine and not lost


def main() -> int:
    """Measure, print tables, write the figures; 1 when a bar was missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headstart-bench-")))
        told = {"HEADSTART_DATABASE_URL": stack.enter_context(database("polling"))}
        told |= {"HEADSTART_HOME": str(folder / "home"), "HEADSTART_AUTH": "keys"}
        found = rounds(folder, told, given)
    print("| | req/s | from | to | p50 ms | p99 ms | answers |\n|---|---|---|---|---|---|---|")
    for name, loads in found.items():
        speeds = [each.per_second for each in loads]
        statuses = dict(
            sorted(sum((each.statuses for each in loads[1:]), loads[0].statuses).items())
        )
        p50, p99 = (median(getattr(e, part) for e in loads) for part in ("median_ms", "p99_ms"))
        figures = f"{median(speeds):.0f} | {min(speeds):.0f} | {max(speeds):.0f}"
        print(f"| {name} | {figures} | {p50:.1f} | {p99:.1f} | {statuses} |")
    print("\n| bar | measured | |\n|---|---|---|")
    judged = bars(found)
    for bar, figure, met in judged:
        print(f"| {bar} | {figure} | {'met' if met else 'missed'} |")
    given.out.parent.mkdir(parents=True, exist_ok=True)
    measured = {name: [_figures(each) for each in loads] for name, loads in found.items()}
    given.out.write_text(json.dumps(measured, indent=1) + "\n")
    return int(not all(met for *_, met in judged))


def _figures(each: Load) -> dict[str, object]:
    return {
        "per_second": each.per_second,
        "median_ms": each.median_ms,
        "p99_ms": each.p99_ms,
        "statuses": dict(each.statuses),
        "lost": each.lost,
    }


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(f"wrk failed:\n{error.stderr}")
