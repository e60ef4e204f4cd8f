"""What the pages cost with many rows: server time of each, and what a first visit loads.

Run from the project root, with nothing else on the machine::

    python -m tests.benchmarks.bench_pages [--times 100] [--jobs 10000] [--datasets 1000]

The deployed application, in one process on a PostgreSQL of its own, has so many jobs and datasets,
models and a search in its thirtieth epoch. One client asks for each page in turn. Then 50 open
pages of that job ask for what is new, as their scripts do while it works, and the process's share
of a core is read. Prints tables and writes `var/bench/pages.json`; 1 when a bar was missed.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import itertools
import json
import os
import re
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles

import httpx
import psutil
from sqlalchemy import update

from core.bootstrap import Container, build
from core.config import Settings
from core.db import schema
from core.db.result_tables import SearchRow
from core.domain.datasets import Dataset, Problem
from core.domain.jobs import Job, JobRecord, Progress
from core.domain.supernets import Supernet
from core.services import jobs
from tests.benchmarks.deployed import database, served
from tests.fixtures.projects import of_project
from tests.unit.api import scenes
from tests.unit.api.test_architecture import record

OUT = Path("var/bench/pages.json")
OPEN, EVERY, SLOWLY, WATCHED = 50, 3.0, 10.0, 40.0  # pages, seconds between what they ask, seconds
BEAT = 10.0  # seconds between a working job's signs of life, as they are by default
AGAIN = re.compile(r'hx-get="([^"]+seen=[^"]+)"')
RACED, PRUNED, FAILED = 200, 200, 200  # finished searches that raced, prunings, failed jobs
P95_MS, FIRST_LOAD, SHARE = 150, 150_000, 0.10
LINKED = re.compile(r'(?:src|href)="(/static/[^"]+\.(?:js|css|svg))"')


@dataclass(frozen=True, slots=True)
class Visited:
    """Milliseconds of each answer, and bytes of a first visit through gzip."""

    ms: list[float]
    gzip_bytes: int

    @property
    def p95_ms(self) -> float:
        """Nineteen of twenty answers took no longer."""
        return quantiles(self.ms, n=20)[-1]


ALIKE = tuple(
    Problem("warning", "near_duplicate", f"cat/{number}.png", "Alike.", (f"cat/{number + 1}.png",))
    for number in range(0, 2_000, 2)
)


def furnished(container: Container, *, many: int, sets: int) -> tuple[dict[str, str], Job]:
    """The paths of every kind of page, and the job that works, once the rows are there."""
    made = [scenes.dataset(container, f"set {number}", classes=10) for number in range(sets)]
    target, source = made[-1], made[0]
    doubtful = scenes.dataset(container, "doubtful", problems=ALIKE)
    nets = [scenes.supernet(container, each) for each in made[:20]]
    scenes.ranking(container, target, source, scenes.supernet(container, source).id)
    models = [scenes.finished(container, target)[1] for _ in range(20)]
    for number in range(RACED):
        _raced(container, made[number % sets], nets[number % len(nets)])
    prunings = [scenes.pruned(container, made[number % sets]) for number in range(PRUNED)]
    for number in range(FAILED):
        scenes.failed(container, made[number % sets], f"code_{number % 10}", "It did not.")
    for number in range(many):
        scenes.queued(container, made[number % sets])
    job = searching(container, scenes.running(container, target))
    paths = {
        "home": "/",
        "dataset": f"/datasets/{target.id}",
        "report": f"/datasets/{doubtful.id}/report",
        "job": f"/jobs/{job.id}",
        "job, live": f"/jobs/{job.id}/live",
        "job, an epoch": f"/jobs/{job.id}/architecture?epoch=15&of=30",
        "model": f"/models/{models[0].id}",
        "jobs": "/jobs",
        "models": "/models",
        "prunings": "/prunings",
        "pruning": f"/prunings/{prunings[0].id}",
        "registry": "/registry",
        "supernet": f"/registry/{nets[0].id}",
        "operations": "/operations",
        "operations, live": "/operations/live",
        "keys": "/account/keys",
        "webhooks": "/account/webhooks",
        "audit": "/account/audit",
    }
    return paths, job


def _raced(container: Container, target: Dataset, supernet: Supernet) -> None:
    """A finished search that began from the supernet, after a race against a cold start."""
    search, _ = scenes.finished(container, target)
    ran = [
        {
            "name": name,
            "supernet_id": supernet_id,
            "distance": 2.0,
            "rungs": [{"valid_accuracy": accuracy, "epochs": 0, "seconds": 1.0}] * 4,
        }
        for name, supernet_id, accuracy in (
            (supernet.name, str(supernet.id), 0.4),
            ("cold", None, 0.3),
        )
    ]
    start = {
        "supernet_id": str(supernet.id),
        "race": {"contestants": ran, "winner": ran[0]["name"]},
    }
    with container.sessions.begin() as session:
        session.execute(update(SearchRow).where(SearchRow.id == search.id).values(start=start))


def searching(container: Container, job: Job) -> Job:
    """The job with thirty epochs of a search behind it."""
    with container.sessions.begin() as session:
        known: list[JobRecord] = [
            record(
                epoch, "sep_conv_3x3", train_accuracy=epoch / 40, train_loss=1.0, valid_loss=1.0
            )
            for epoch in range(31)
        ]
        jobs.add_records(session, job.id, job.fence, known)
    return job


def timed(http: httpx.Client, path: str, times: int) -> list[float]:
    """Milliseconds of each answer; the first few, which warm up, are not counted."""
    found = []
    for number in range(times + 5):
        began = time.perf_counter()
        answer = http.get(path)
        if number >= 5:
            found.append(1000 * (time.perf_counter() - began))
        assert answer.status_code == 200, f"{path}: {answer.text[:500]}"
    return found


def first_load(http: httpx.Client, path: str) -> int:
    """Bytes of a page and all that it names, each through gzip."""
    page = http.get(path).text
    whole = [page.encode(), *(http.get(each).content for each in set(LINKED.findall(page)))]
    return sum(len(gzip.compress(each)) for each in whole)


def watched(url: str, job: Job, container: Container, pid: int) -> float:
    """The share of a core that so many open pages of a job cost the server, while it works."""
    over = threading.Event()

    def watch(number: int, part: str, every: float) -> None:
        again = f"/jobs/{job.id}/{part}"
        time.sleep(every * number / OPEN)
        with httpx.Client(base_url=url, trust_env=False, headers={"HX-Request": "true"}) as http:
            while not over.wait(every):
                answer = http.get(again)
                assert answer.status_code in {200, 204}
                if found := AGAIN.search(answer.text):
                    again = found[1]

    def work() -> None:
        for step in itertools.count(1):
            if over.wait(BEAT):
                return
            with container.sessions.begin() as session:
                told = Progress("search:0", step / 1_000)
                jobs.beat(
                    session, job.id, job.fence, lease_seconds=600, cost_seconds=step, progress=told
                )

    asked = (("live", EVERY), ("architecture", SLOWLY))
    with ThreadPoolExecutor(len(asked) * OPEN + 1) as readers:
        busy = [readers.submit(watch, number, *each) for number in range(OPEN) for each in asked]
        busy.append(readers.submit(work))
        time.sleep(2 * EVERY)
        before, began = _cpu(pid), time.monotonic()
        time.sleep(WATCHED)
        share = (_cpu(pid) - before) / (time.monotonic() - began)
        over.set()
        for each in busy:
            each.result()  # a page that was refused would cost nothing
    return share


def _cpu(pid: int) -> float:
    every = psutil.Process(pid)
    spent = [each.cpu_times() for each in (every, *every.children(recursive=True))]
    return float(sum(each.user + each.system for each in spent))


def main() -> int:
    """Measure, print tables, write the figures; 1 when a bar was missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--datasets", type=int, default=1_000)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headstart-bench-")))
        told = {"HEADSTART_DATABASE_URL": stack.enter_context(database("pages"))}
        told["HEADSTART_HOME"] = str(folder / "home")
        for name, value in told.items():
            os.environ[name] = value
        settings = Settings()
        schema.migrate(settings.database)
        container = of_project(build(settings))
        stack.callback(container.close)
        paths, job = furnished(container, many=given.jobs, sets=given.datasets)
        url, process = stack.enter_context(served(told, folder / "served"))
        with httpx.Client(base_url=url, trust_env=False, headers={"Accept": "text/html"}) as http:
            rows = {
                name: Visited(timed(http, path, given.times), first_load(http, path))
                for name, path in paths.items()
            }
        share = watched(url, job, container, process.pid)
    print("| page | median ms | p95 ms | first load, kB gzip |\n|---|---|---|---|")
    for name, row in rows.items():
        print(f"| {name} | {median(row.ms):.0f} | {row.p95_ms:.0f} | {row.gzip_bytes / 1e3:.0f} |")
    slowest = max(row.p95_ms for row in rows.values())
    heaviest = max(row.gzip_bytes for row in rows.values())
    judged = [
        (f"p95 of every page <= {P95_MS} ms", f"{slowest:.0f} ms", slowest <= P95_MS),
        (
            f"first load <= {FIRST_LOAD / 1e3:.0f} kB",
            f"{heaviest / 1e3:.0f}",
            heaviest <= FIRST_LOAD,
        ),
        (f"{OPEN} open job pages <= {SHARE:.0%} of a core", f"{share:.1%}", share <= SHARE),
    ]
    print("\n| bar | measured | |\n|---|---|---|")
    for bar, figure, met in judged:
        print(f"| {bar} | {figure} | {'met' if met else 'missed'} |")
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(
        json.dumps({"pages": {name: asdict(row) for name, row in rows.items()}, "watched": share})
        + "\n"
    )
    return int(not all(met for *_, met in judged))


if __name__ == "__main__":
    sys.exit(main())
