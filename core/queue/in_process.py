"""Job hints inside one process, and the slots that answer them: all jobs run in one of these."""

from collections.abc import Callable
from threading import Condition, Thread

import structlog

from core.domain.jobs import JobId, QueueName

log = structlog.stdlib.get_logger(__name__)


class InProcessQueue:
    """Threads that look for work whenever somebody rings, until none is left."""

    def __init__(self, run_next: Callable[[QueueName], bool], slots: int) -> None:
        self._run_next = run_next
        self._changed = Condition()
        self._rings = 0
        self._answered = -1
        self._stopping = False
        self._threads = [
            Thread(target=self._serve, name=f"slot-{number}", daemon=True)
            for number in range(slots)
        ]

    def start(self) -> None:
        """Begin to look for work, at once: there may be some from before."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Take nothing more and wait for the running work (drain it first to make this short)."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def announce(self, job_id: JobId, queue: QueueName) -> None:  # noqa: ARG002 - any ring wakes all
        """Wake every idle slot; the claim decides who gets the job."""
        self.ring()

    def ring(self) -> int:
        """Wake every idle slot; the ring's number."""
        with self._changed:
            self._rings += 1
            self._changed.notify_all()
            return self._rings

    def settle(self, ring: int) -> None:
        """Wait while every slot is busy: until one has looked since the ring and found no more."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self._answered >= ring)

    def answered(self, ring: int) -> bool:
        """Whether a slot has looked since the ring and found no more."""
        with self._changed:
            return self._answered >= ring

    def check(self) -> None:
        """Hints are always delivered within one process."""

    def _serve(self) -> None:
        heard = -1  # so that the first look needs no ring
        while True:
            with self._changed:
                # A ring during the last look counts: what it stands for may have come too late.
                self._changed.wait_for(lambda: self._stopping or self._rings > heard)  # noqa: B023
                if self._stopping:
                    return
                heard = self._rings
            self._work()
            with self._changed:
                self._answered = max(self._answered, heard)
                self._changed.notify_all()

    def _work(self) -> None:
        try:
            found = True
            while found and not self._stopping:
                found = False
                for queue in QueueName:  # by turns, so that neither starves the other
                    found = self._run_next(queue) or found
        except Exception:  # a slot that died would be one less until the next restart
            log.exception("slot_failed")
