"""Many processes claim many jobs."""

import contextlib
import subprocess
import sys
import time
from collections import Counter
from uuid import UUID

from core.domain.jobs import JobKind, JobState
from core.services import jobs
from tests.chaos import checker
from tests.chaos.cluster import clustered
from tests.chaos.processes import Servers
from tests.chaos.report import Row, say

PROCESSES = 16


def claims(servers: Servers, runs: int, seed: int, *, mutant: str | None = None) -> Row:
    """Sixteen processes, and `runs` jobs between them: each is claimed once, none is left."""
    with clustered(servers, mutant=mutant) as cluster, contextlib.ExitStack() as stack:
        with cluster.container.sessions.begin() as session:
            submitted = {
                jobs.submit(session, kind=JobKind.EMBED, spec={}, dataset_id=cluster.dataset).id
                for _ in range(runs)
            }
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "tests.chaos.claimer", f"claimer-{number}"],
                    env=cluster.environment(f"claimer-{number}"),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for number in range(PROCESSES)
        ]
        pipes = [(each.stdin, each.stdout) for each in processes if each.stdin and each.stdout]
        assert all(out.readline() == "ready\n" for _, out in pipes)
        begun = time.monotonic()
        for stdin, _ in pipes:
            stdin.close()
        answers = [out.read() for _, out in pipes]
        died = sum(process.wait() != 0 for process in processes)
        seconds = time.monotonic() - begun
        got = Counter(UUID(line) for answer in answers for line in answer.split())
        with cluster.container.sessions.read() as session:
            found = checker.check(session, accepted=submitted)
            running, _ = jobs.listing(session, limit=1, states=[JobState.QUEUED])
        for each in found:
            say(str(each))
        lost = len(submitted - set(got)) + len(running)
        double = sum(count - 1 for count in got.values())
        return Row(
            f"{PROCESSES} processes claim {runs} jobs",
            runs,
            lost,
            double,
            len(found),
            round(seconds, 2),
            passed=not (lost or double or died or found),
        )
