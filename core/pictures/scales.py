"""Axes: which numbers to mark, how to write them, and where they fall on the picture."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear map from data `[low, high]` to pixels `[start, end]`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The pixel of a value, kept on the picture."""
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return self.start + min(1.0, max(0.0, share)) * (self.end - self.start)


def extent(values: Iterable[float]) -> tuple[float, float]:
    """The finite range of the values, opened a little when it is a single point."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    if low == high:
        margin = abs(low) * 0.1 or 0.5
        return low - margin, high + margin
    return low, high


def ticks(low: float, high: float, *, about: int = 5, whole: bool = False) -> Sequence[float]:
    """Round numbers inside the range, near `about` of them; whole numbers only, if asked."""
    span = high - low
    if span <= 0 or not math.isfinite(span):
        return (low,)
    raw = span / max(1, about)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    if whole:
        step = max(1.0, math.ceil(step))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return tuple(round(index * step, 12) for index in range(first, last + 1))


def label(value: float) -> str:
    """A number as people write it on an axis."""
    if not math.isfinite(value):
        return "not a number"
    if value and (abs(value) >= 1e5 or abs(value) < 1e-3):
        return f"{value:.2g}"
    return f"{value:.4g}"
