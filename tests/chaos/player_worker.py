"""A worker whose children play: `python -m tests.chaos.player_worker --queues cpu,gpu`.

CHAOS_FOLDER is where they write. CHAOS_STOP_AT=POINT:FILE stops the worker (SIGSTOP) where a
crash point of that name is reached while FILE is there, which is taken away. CHAOS_UNFENCED=1
takes the guards away: a harness that finds nothing wrong then is of no use.
"""

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core import crash_points
from core.config import Settings
from core.db.job_tables import JobRow, in_state
from core.domain.jobs import JobState
from core.execution.process import ChildProcess
from core.services import jobs, moves
from worker.__main__ import main
from worker.factory import create_app

Changes = Mapping[str, Any]


def stop_at(point: str, file: Path) -> None:
    """Stop, rather than die, at a point."""
    die = crash_points.reach

    def reach(where: str) -> None:
        die(where)
        if where == point and file.exists():
            file.unlink()
            os.kill(os.getpid(), signal.SIGSTOP)

    crash_points.reach = reach


def unfence() -> None:
    """Let anybody write who ever held a job."""

    def move_mine(
        session: Any,
        job_id: Any,
        fence: int,
        to: JobState,
        reason: str,
        changes: Mapping[str, Any],
    ) -> JobRow | None:
        which = JobRow.id == job_id
        return moves.move(session, which, JobState.RUNNING, to, reason=reason, changes=changes)

    moves.holds = lambda fence: in_state(JobState.RUNNING)
    jobs._move_mine = move_mine
    ChildProcess.keep_until = lambda self, deadline: setattr(self, "_deadline", float("inf"))  # type: ignore[method-assign]


if __name__ == "__main__":
    if ordered := os.environ.get("CHAOS_STOP_AT"):
        place, _, armed = ordered.partition(":")
        stop_at(place, Path(armed))
    if os.environ.get("CHAOS_UNFENCED"):
        unfence()
    player = (sys.executable, "-m", "tests.chaos.player", os.environ["CHAOS_FOLDER"])
    main(create_app(Settings(), child_command=player), sys.argv[1:])
