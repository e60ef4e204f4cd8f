"""How long to go on trying, and how long to pause in between."""

import random
import time
from collections.abc import Callable

from headstart.problems import Problem

FIRST, LONGEST = 0.5, 20.0  # seconds that the first pause, and any, takes at most
IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})


class Patience:
    """Tries that bring nothing, for `seconds` from the first of them: full jitter, and never
    before Retry-After."""

    def __init__(
        self,
        seconds: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._seconds, self._clock, self._draw = seconds, clock, draw
        self._until = 0.0
        self._furthest = 0
        self.tries = 0

    def renew(self) -> None:
        """Something got through: begin anew."""
        self.tries = 0

    def reached(self, place: int) -> None:
        """So far it got: begin anew if that is further than ever."""
        if place > self._furthest:
            self._furthest = place
            self.renew()

    def pause(self, problem: Problem) -> float:
        """Seconds until the next try. Raises the problem where another would come too late."""
        if self.tries == 0:
            self._until = self._clock() + self._seconds
        drawn = self._draw(0.0, min(LONGEST, FIRST * 2**self.tries))
        seconds = drawn + (problem.retry_after or 0.0)
        if self._clock() + seconds > self._until:
            raise problem
        self.tries += 1
        return seconds
