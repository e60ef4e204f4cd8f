"""Token buckets: so many a second over time, and so many at once, for each name."""

import time
from collections.abc import Callable

MOST = 10_000  # names, until those whose buckets are full again are forgotten


class Buckets:
    """A bucket for each name: `burst` tokens at first, `rate` more a second up to that."""

    def __init__(
        self, rate: float, burst: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._buckets: dict[str, tuple[float, float]] = {}  # tokens, and when there were so many

    def wait(self, name: str) -> float:
        """Seconds until the bucket has a token; 0 if it has."""
        return max(0.0, (1.0 - self._tokens(name)) / self._rate)

    def take(self, name: str) -> float:
        """Take a token if there is one; the seconds until there is one if not."""
        tokens = self._tokens(name)
        if tokens < 1.0:
            return (1.0 - tokens) / self._rate
        if len(self._buckets) >= MOST:
            self._forget()
        self._buckets[name] = (tokens - 1.0, self._clock())
        return 0.0

    def _tokens(self, name: str) -> float:
        tokens, at = self._buckets.get(name, (self._burst, 0.0))
        return min(self._burst, tokens + (self._clock() - at) * self._rate)

    def _forget(self) -> None:
        left = {name: kept for name, kept in self._buckets.items()
                if self._tokens(name) < self._burst}  # fmt: skip
        self._buckets = left if len(left) < MOST else {}
