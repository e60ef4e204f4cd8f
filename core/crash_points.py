"""Named places where a process can be told to die, so that tests hit windows of a millisecond.

The environment says where and when:

    HEADSTART_CRASH_AT=before_commit      at the first time that a process gets there
    HEADSTART_CRASH_AT=before_commit:2    at the second
    HEADSTART_CRASH_AT=/FOLDER            where a file of the point's name is in there; it is taken
                                          away, so whoever puts it there has one process killed

Without the variable nothing happens. It is read at every point, and children inherit it.
"""

import os
import signal
from collections import Counter
from pathlib import Path
from threading import Lock

VARIABLE = "HEADSTART_CRASH_AT"
OF_SUPERVISOR = (
    "after_claim",
    "child_started",
    "before_checkpoint_row",
    "before_commit",
    "in_commit",
    "after_commit",
    "before_release",
    "after_release",
    "before_cancelled",
    "in_sweep",
    "after_sweep",
)
OF_CHILD = (
    "after_restore",
    "before_checkpoint_put",
    "after_checkpoint_put",
    "before_manifest",
    "after_manifest",
    "before_last_word",
)
OF_API = ("before_announce",)
# Of webhooks and of runs for MLflow, which are no jobs: their own tests go there.
OF_SENDER = ("before_note", "before_run_files", "before_run_note")
POINTS = (*OF_SUPERVISOR, *OF_CHILD, *OF_API)

_reached: Counter[str] = Counter()
_counting = Lock()


def reach(point: str) -> None:
    """Die here, without a word (SIGKILL), if that is asked for."""
    order = os.environ.get(VARIABLE)
    if order is None:
        return
    due = _taken(Path(order, point)) if order.startswith("/") else _counted(point, order)
    if due:
        os.kill(os.getpid(), signal.SIGKILL)


def _taken(file: Path) -> bool:
    """Whether the file was there and this process is the one that took it."""
    try:
        file.unlink()
    except FileNotFoundError:
        return False
    return True


def _counted(point: str, order: str) -> bool:
    """Whether this is the point that is meant, for the time that is meant."""
    where, _, nth = order.partition(":")
    if where != point:
        return False
    with _counting:
        _reached[point] += 1
        return _reached[point] == int(nth or 1)
