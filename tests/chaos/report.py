"""What became of a cluster under one fault: a row of the table."""

import json
import sys
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import select

from core.db.dataset_tables import EmbeddingRow
from core.db.job_tables import JobRow
from core.domain.jobs import JobId, JobKind, JobState
from tests.chaos import checker, stores
from tests.chaos.checker import Kept, Rule, Violation
from tests.chaos.cluster import Cluster

LOST = {Rule.LOST, Rule.UNSETTLED}
DOUBLE = {Rule.TWO_SUCCESSES}
STALE = {Rule.STALE, Rule.FENCE, Rule.AFTER_THE_END}
HEALTHY = frozenset({JobState.SUCCEEDED})


@dataclass(frozen=True, slots=True)
class Row:
    """One fault, how often it was made, and what it did."""

    fault: str
    runs: int
    lost: int
    double: int
    stale: int
    worst_seconds: float
    passed: bool


def judge(
    cluster: Cluster,
    fault: str,
    *,
    runs: int,
    worst: float = 0.0,
    bound: float | None = None,
    ends: Mapping[JobId, Collection[JobState]] | None = None,
    complaints: Sequence[str] = (),
) -> Row:
    """Ask the checker, compare every answer, and say what is wrong on standard error.

    A job that is not in `ends` must succeed. With a `bound` the `worst` seconds must be below.
    """
    lost, double, broken = _seen(cluster, ends or {})
    words = [*map(str, broken), *lost, *double, *unlike(cluster), *complaints]
    if bound is not None and worst > bound:
        words.append(f"{worst:.1f} s, more than {bound:g} s")
    for each in words:
        say(f"  {fault}: {each}")
    rules = Counter(each.rule for each in broken)
    return Row(
        fault,
        runs,
        lost=len(lost) + sum(rules[rule] for rule in LOST),
        double=len(double) + sum(rules[rule] for rule in DOUBLE),
        stale=sum(rules[rule] for rule in STALE),
        worst_seconds=round(worst, 2),
        passed=not words,
    )


def _seen(
    cluster: Cluster, ends: Mapping[JobId, Collection[JobState]]
) -> tuple[list[str], list[str], Sequence[Violation]]:
    """Jobs that ended as they should not, jobs that were made twice, and broken rules."""
    with cluster.container.sessions.read() as session:
        kept = Kept(cluster.container.store, stores.keys(cluster.storage), leftovers=True)
        broken = checker.check(session, kept=kept, accepted=cluster.accepted, settled=True)
        rows = {row.id: row.to_domain() for row in session.scalars(select(JobRow))}
    lost = [
        f"{job.id} is {job.state}: {job.error_code}"
        for job in (rows[job_id] for job_id in cluster.accepted if job_id in rows)
        if job.finished and job.state not in ends.get(job.id, HEALTHY)
    ]
    names = Counter(
        (job.dataset_id, job.spec["embedder"])
        for job in rows.values()
        if job.kind is JobKind.EMBED
    )
    double = [f"{count} jobs are {name}" for (_, name), count in names.items() if count > 1]
    return lost, double, broken


def unlike(cluster: Cluster) -> list[str]:
    """Played jobs with another answer than theirs."""
    with cluster.container.sessions.read() as session:
        told = {row.embedder: row.sha256 for row in session.scalars(select(EmbeddingRow))}
    return [
        f"{job_id} says {told[play.name]}, not {play.answer}"
        for job_id, play in cluster.played.items()
        if told.get(play.name, play.answer) != play.answer
    ]


def table(rows: Sequence[Row]) -> str:
    """The rows for people, with what they can say: no failure in n runs is a bound at 95 %."""
    lines = [f"{'fault':58} {'runs':>5} {'lost':>4} {'double':>6} {'stale':>5} {'worst s':>8}"]
    for row in rows:
        verdict = f"passed (< {300 / row.runs:.1f} % at 95 %)" if row.passed else "FAILED"
        counts = f"{row.runs:5} {row.lost:4} {row.double:6} {row.stale:5}"
        lines.append(f"{row.fault:58} {counts} {row.worst_seconds:8.2f}  {verdict}")
    return "\n".join(lines)


def write(rows: Sequence[Row], path: Path) -> None:
    """The rows for programs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


def say(words: str) -> None:
    """A line on standard error, with the time."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {words}\n")
    sys.stderr.flush()
