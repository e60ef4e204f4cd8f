"""Curves of what a running cluster holds, and whether they rise.

A rise is the Theil-Sen slope (the median of the slopes between all pairs of points) over the time
looked at: noise, peaks and an early step do not bend it, what is lost bit by bit does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

TEN_MINUTES = 600.0
LONGEST_WARM_UP = 600.0
FEWEST_POINTS = 8


@dataclass(frozen=True, slots=True)
class Limit:
    """How fast something may rise, in its unit; less than `noise` in all is no rise."""

    unit: str
    per_10_minutes: float
    noise: float


@dataclass(frozen=True, slots=True)
class Curve:
    """One of them: seconds since the beginning, and how much there was."""

    name: str
    limit: Limit
    points: Sequence[tuple[float, float]]

    @property
    def judged(self) -> Sequence[tuple[float, float]]:
        """The points after the warm-up: a quarter of the time, ten minutes at the most."""
        if not self.points:
            return ()
        begin, end = self.points[0][0], self.points[-1][0]
        warm = begin + min(LONGEST_WARM_UP, (end - begin) / 4)
        return [each for each in self.points if each[0] >= warm]

    @property
    def seconds(self) -> float:
        """The time looked at."""
        return self.judged[-1][0] - self.judged[0][0] if self.judged else 0.0

    @property
    def slope(self) -> float:
        """In units per ten minutes."""
        return slope(self.judged) * TEN_MINUTES

    @property
    def rise(self) -> float:
        """In the time looked at."""
        return self.slope * self.seconds / TEN_MINUTES

    @property
    def allowed(self) -> float:
        """The rise that is let pass."""
        return max(self.limit.noise, self.limit.per_10_minutes * self.seconds / TEN_MINUTES)

    @property
    def complaint(self) -> str | None:
        """What is wrong with it, if anything."""
        if len(self.judged) < FEWEST_POINTS:
            return f"{self.name}: seen {len(self.judged)} times only"
        if self.rise <= self.allowed:
            return None
        unit, time = self.limit.unit, f"{self.seconds:.0f} s"
        return f"{self.name} rose by {self.rise:.1f} {unit} in {time}, {self.allowed:.1f} allowed"

    def to_json(self) -> Mapping[str, object]:
        """For programs."""
        return {
            "name": self.name,
            "unit": self.limit.unit,
            "per_10_minutes": round(self.slope, 4),
            "allowed_per_10_minutes": self.limit.per_10_minutes,
            "rise": round(self.rise, 3),
            "allowed": round(self.allowed, 3),
            "seconds": round(self.seconds, 1),
            "passed": self.complaint is None,
            "points": [[round(at, 1), round(value, 3)] for at, value in self.points],
        }


def slope(points: Sequence[tuple[float, float]]) -> float:
    """The median of the slopes between all pairs (Theil 1950, Sen 1968), in units per second."""
    at, value = np.asarray(points, dtype=float).reshape(-1, 2).T
    first, second = np.triu_indices(len(at), k=1)
    apart = at[second] - at[first]
    known = apart > 0
    if not known.any():
        return 0.0
    return float(np.median((value[second] - value[first])[known] / apart[known]))


def table(curves: Sequence[Curve]) -> str:
    """For people."""
    head = f"{'curve':28} {'unit':8} {'least':>9} {'most':>9} {'rise':>9} {'allowed':>8}"
    lines = [f"{head}  per 10 min"]
    for each in curves:
        values = [value for _, value in each.judged] or [float("nan")]
        span = f"{min(values):9.1f} {max(values):9.1f} {each.rise:9.2f} {each.allowed:8.2f}"
        verdict = "" if each.complaint is None else "  FAILED"
        lines.append(f"{each.name:28} {each.limit.unit:8} {span}  {each.slope:+.2f}{verdict}")
    return "\n".join(lines)
