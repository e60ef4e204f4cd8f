"""A thread that does a small chore again and again until it is told to stop."""

from collections.abc import Callable
from threading import Event, Thread

import structlog

from core.errors import Unavailable

log = structlog.stdlib.get_logger(__name__)


class Sweeper:
    """Calls `sweep` every `seconds`; many of them side by side do no harm."""

    def __init__(self, sweep: Callable[[], None], *, seconds: float) -> None:
        self._sweep = sweep
        self._seconds = seconds
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="sweeper", daemon=True)

    def start(self) -> None:
        """Begin, with a first sweep at once."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the sweep under way, if any, and end; harmless before the start."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._sweep()
            except Unavailable:
                log.warning("sweep_failed")
            except Exception:  # one bad sweep must not be the last
                log.exception("sweep_failed")
            self._stopping.wait(self._seconds)
