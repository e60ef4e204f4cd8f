"""A worker whose children play: `python -m tests.chaos.player_worker --queues cpu,gpu`.

CHAOS_FOLDER is where they write. CHAOS_STOP_AT=POINT:FILE stops the worker (SIGSTOP) where a
crash point of that name is reached while FILE is there, which is taken away. CHAOS_MUTANT is what
`mutants` says.
"""

import os
import signal
import sys
from pathlib import Path

from core import crash_points
from core.config import Settings
from tests.chaos import mutants
from worker.__main__ import main
from worker.factory import create_app


def stop_at(point: str, file: Path) -> None:
    """Stop, rather than die, at a point."""
    die = crash_points.reach

    def reach(where: str) -> None:
        die(where)
        if where == point and file.exists():
            file.unlink()
            os.kill(os.getpid(), signal.SIGSTOP)

    crash_points.reach = reach


if __name__ == "__main__":
    if ordered := os.environ.get("CHAOS_STOP_AT"):
        place, _, armed = ordered.partition(":")
        stop_at(place, Path(armed))
    mutants.mutate()
    player = (sys.executable, "-m", "tests.chaos.player", os.environ["CHAOS_FOLDER"])
    main(create_app(Settings(), child_command=player), sys.argv[1:])
