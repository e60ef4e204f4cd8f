"""How long a child may give no sign of life before it counts as hung."""

import time
from collections import deque
from collections.abc import Callable
from statistics import median

TIMES = 10  # the usual time between two signs: so much longer is no longer a slow step
_REMEMBERED = 1_000


class Vigil:
    """Waits for signs of one attempt; what it is used to decides how long it waits.

    Args:
        floor: Seconds that are always allowed, however quick the signs were so far.
        clock: Seconds from any origin.
    """

    def __init__(self, floor: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._floor = floor
        self._clock = clock
        self._last = clock()
        self._gaps: deque[float] = deque(maxlen=_REMEMBERED)

    def heard(self) -> None:
        """Count a sign."""
        now = self._clock()
        self._gaps.append(now - self._last)
        self._last = now

    @property
    def silence(self) -> float:
        """Seconds since the last sign."""
        return self._clock() - self._last

    @property
    def limit(self) -> float:
        """Seconds of silence that are borne: `TIMES` the median gap, at least the floor."""
        return max(self._floor, TIMES * median(self._gaps) if self._gaps else 0.0)

    @property
    def in_vain(self) -> bool:
        """Whether it has waited for too long."""
        # The median of many only where it can matter: this is asked several times a second.
        return self.silence > self._floor and self.silence > self.limit
