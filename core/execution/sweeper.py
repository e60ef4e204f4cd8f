"""A thread that does small chores again and again until it is told to stop."""

from collections.abc import Callable
from threading import Event, Thread

import structlog

from core.errors import Unavailable

log = structlog.stdlib.get_logger(__name__)


class Sweeper:
    """Does its chores in turn every `seconds`; one that fails keeps no other from its turn."""

    def __init__(self, *chores: Callable[[], object], seconds: float) -> None:
        self._chores = chores
        self._seconds = seconds
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="sweeper", daemon=True)

    def start(self) -> None:
        """Begin, with a first round at once."""
        self._thread.start()

    def stop(self, *, patience: float | None = None) -> None:
        """Finish the round under way, if any, and end; harmless before the start.

        With `patience` a round that takes longer than so many seconds is left to itself: for
        chores that may be cut short anywhere, and wait for a server that is not there.
        """
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(patience)

    def _run(self) -> None:
        while not self._stopping.is_set():
            for chore in self._chores:
                self._do(chore)
            self._stopping.wait(self._seconds)

    def _do(self, chore: Callable[[], object]) -> None:
        try:
            chore()
        except Unavailable:
            log.warning("sweep_failed")
        except Exception:  # one bad round must not be the last
            log.exception("sweep_failed")
