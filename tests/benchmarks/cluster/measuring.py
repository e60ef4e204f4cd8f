"""The three measurements, each a table row or more."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.benchmarks.cluster import bare
from tests.benchmarks.cluster.bare import Spent
from tests.benchmarks.cluster.scene import Json, Scene, cpu_seconds
from tests.cluster.running import Cluster

LATENCY_BAR, OVERHEAD_BAR, THROUGHPUT_BAR = 0.150, 0.02, 1.8
Say = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Row:
    """One measured figure: its median over rounds, its spread, and the bar if there is one."""

    measure: str
    unit: str
    median: float
    low: float
    high: float
    count: int
    bar: str = ""
    passed: bool | None = None

    @classmethod
    def of(
        cls, measure: str, unit: str, values: Sequence[float], *, most: float = 0, least: float = 0
    ) -> "Row":
        """From the values of all rounds; `low` and `high` are their quartiles if they are many."""
        middle, ordered = statistics.median(values), sorted(values)
        low, high = ordered[0], ordered[-1]
        if len(ordered) >= 8:
            low, _, high = statistics.quantiles(ordered, n=4, method="inclusive")
        bar = f"<= {most:g}" if most else f">= {least:g}" if least else ""
        passed = (middle <= most if most else middle >= least) if bar else None
        return cls(measure, unit, middle, low, high, len(ordered), bar, passed)

    def to_json(self) -> Json:
        """As the file of figures holds it."""
        return asdict(self)


def latency(scene: Scene, count: int, *, bar: bool) -> list[Row]:
    """From the request to `running`, one short job at a time."""
    answers, running, claims = [], [], []
    for _ in range(count):
        asked = time.time()  # the database's clock is this machine's
        job = scene.rank()
        answers.append(time.time() - asked)
        scene.ended([job])
        moments = scene.moments(job)
        running.append(moments["running"] - asked)
        claims.append(moments["running"] - moments["queued"])
    through = "through Redis" if bar else "with Redis stopped"
    most = LATENCY_BAR if bar else 0
    return [
        Row.of(f"submit to running, {through}", "s", running, most=most),
        Row.of(f"submit to answer, {through}", "s", answers),
        Row.of(f"row queued to row running, {through}", "s", claims),
    ]


def overhead(scene: Scene, folder: Path, *, epochs: int, rounds: int, say: Say) -> list[Row]:
    """One search as a job and bare, in turn: its share is at most that of a longer search."""
    first = scene.search(epochs)
    scene.ended([first])  # and the machine is warm
    bare.envelope(scene, first, folder / "envelope.json")

    def as_job() -> Spent:
        before = sum(map(cpu_seconds, scene.cluster.workers))
        job = scene.search(epochs)
        scene.ended([job])
        moments = scene.moments(job)
        after = sum(map(cpu_seconds, scene.cluster.workers))
        return Spent(moments["succeeded"] - moments["running"], after - before)

    def alone() -> Spent:
        began = time.perf_counter()
        return bare.finished(bare.started(scene, folder / "envelope.json", 1), began)

    jobs, bares = [], []
    for turn in range(rounds):
        for which, measured in ((as_job, jobs), (alone, bares))[:: 1 if turn % 2 else -1]:
            measured.append(which())
        say(f"  round {turn + 1}: job {jobs[-1].wall:.1f} s, bare {bares[-1].wall:.1f} s")
    return overhead_rows(jobs, bares, epochs=epochs + 2)


def overhead_rows(jobs: Sequence[Spent], bares: Sequence[Spent], *, epochs: int) -> list[Row]:
    """What jobs took more than the bare searches beside them: in all, per epoch, as a share."""
    rows = [Row.of("bare search, wall", "s", [each.wall for each in bares])]
    for kind in ("wall", "cpu"):
        pairs = [(getattr(j, kind), getattr(b, kind)) for j, b in zip(jobs, bares, strict=True)]
        most = OVERHEAD_BAR if kind == "wall" else 0
        rows += [
            Row.of(f"overhead of a job, {kind}", "s", [j - b for j, b in pairs]),
            Row.of(f"the same per epoch, {kind}", "s", [(j - b) / epochs for j, b in pairs]),
            Row.of(f"share of the search, {kind}", "", [j / b - 1 for j, b in pairs], most=most),
        ]
    return rows


def throughput(
    scene: Scene, folder: Path, *, epochs: int, jobs: int, rounds: int, say: Say
) -> list[Row]:
    """Equal searches by one worker and by two; beside it what two bare processes gain here."""
    first = scene.search(epochs)
    scene.ended([first])
    bare.envelope(scene, first, folder / "envelope.json")
    one, two, machine = [], [], []
    for turn in range(rounds):
        scene.cluster.workers[1].stop()
        one.append(_all_done(scene, epochs, jobs))
        scene.cluster.workers[1].start()
        two.append(_all_done(scene, epochs, jobs))
        single, pair = (_at_once(scene, folder, count) for count in (1, 2))
        machine.append(2 * single / pair)
        say(f"  round {turn + 1}: {one[-1]:.1f} s and {two[-1]:.1f} s; bare {machine[-1]:.2f}")
    ratios = [a / b for a, b in zip(one, two, strict=True)]
    return [
        Row.of("two workers against one", "times", ratios, least=THROUGHPUT_BAR),
        Row.of("two bare processes against one", "times", machine),
    ]


def _all_done(scene: Scene, epochs: int, count: int) -> float:
    """Seconds from the first submission to the last success."""
    began = time.time()
    submitted = [scene.search(epochs) for _ in range(count)]
    scene.ended(submitted)
    return max(scene.moments(job)["succeeded"] for job in submitted) - began


def _at_once(scene: Scene, folder: Path, count: int) -> float:
    began = time.perf_counter()
    processes = [bare.started(scene, folder / "envelope.json", 1) for _ in range(count)]
    return max(bare.finished(each, began).wall for each in processes)


def without_redis(cluster: Cluster, scene: Scene, count: int) -> list[Row]:
    """The same latency with the broker gone: jobs are found by the workers' own looks."""
    cluster.redis.stop()
    try:
        return latency(scene, count, bar=False)
    finally:
        cluster.redis.start()
