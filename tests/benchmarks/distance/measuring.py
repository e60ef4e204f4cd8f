"""Clocks, and how well one order agrees with another."""

from __future__ import annotations

import platform
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import ot as pot
import torch
from scipy.stats import kendalltau

Result = TypeVar("Result")


@dataclass(slots=True)
class Clock:
    """Wall and CPU seconds of one thing, run several times."""

    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    def time(self, run: Callable[[], Result]) -> Result:
        """Run it once."""
        wall, processor = time.perf_counter(), time.process_time()
        result = run()
        self.processor.append(time.process_time() - processor)
        self.wall.append(time.perf_counter() - wall)
        return result

    @property
    def seconds(self) -> float:
        """Median wall seconds."""
        return statistics.median(self.wall)

    def record(self) -> dict[str, float | int]:
        """Medians and spread."""
        return {
            "runs": len(self.wall),
            "wall_median": statistics.median(self.wall),
            "wall_least": min(self.wall),
            "wall_most": max(self.wall),
            "cpu_median": statistics.median(self.processor),
            "cpu_least": min(self.processor),
            "cpu_most": max(self.processor),
        }


def agreement(order: Sequence[int], truth: Sequence[float]) -> dict[str, float | bool]:
    """How well an order of sources agrees with their true distances.

    Args:
        order: Sources, nearest first; all of them.
        truth: Their distances.

    Returns:
        Kendall's tau over all, whether the nearest is first, and the share of the five nearest
        that are among the first five.
    """
    places = [0] * len(order)
    for place, source in enumerate(order):
        places[source] = place
    nearest = sorted(range(len(truth)), key=truth.__getitem__)[:5]
    return {
        "kendall_tau": float(kendalltau(places, truth).statistic),
        "top1": order[0] == nearest[0],
        "top5_recall": len(set(order[:5]) & set(nearest)) / 5,
    }


def peak_bytes() -> int:
    """The most memory that this process has held."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def conditions(threads: int) -> dict[str, str | int]:
    """What the figures were taken on."""
    model = platform.processor()
    if (about := Path("/proc/cpuinfo")).exists():
        lines = [line for line in about.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].partition(":")[2].strip() if lines else model
    return {
        "processor": model,
        "threads": threads,
        "torch": str(torch.__version__),
        "pot": str(pot.__version__),
        "python": platform.python_version(),
    }
