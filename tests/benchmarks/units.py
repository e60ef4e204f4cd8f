"""Units of work whose results are files, and several processes that finish them one by one."""

from __future__ import annotations

import os
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from multiprocessing import get_context
from statistics import fmean
from typing import Any, Protocol

import torch


class Results(Protocol):
    """Where units leave what they found."""

    def result(self, unit: str) -> Any:
        """What a finished unit wrote; None while it is not finished."""

    def keep(self, unit: str, result: Mapping[str, Any]) -> None:
        """Write a unit's result, all of it or nothing."""


@dataclass(frozen=True, slots=True)
class Unit:
    """Something to measure: where its result is written, and which results must be there."""

    name: str
    kind: str
    measure: Callable[[Any], dict[str, Any]]
    needs: tuple[str, ...] = ()


def finish(
    bench: Results,
    units: Sequence[Unit],
    jobs: int,
    *,
    begin: Callable[[], None] | None = None,
) -> list[str]:
    """Finish the units that are not finished; those that failed, and what needs them, by name.

    Args:
        bench: Is given to every unit's `measure`, in a process of its own; it can be pickled.
        units: In the order in which they begin, as far as their needs allow.
        jobs: Processes, of one thread each.
        begin: What every process does first.
    """
    progress = _Progress(bench, units, jobs)
    waiting = [unit for unit in units if bench.result(unit.name) is None]
    failed = list[str]()
    running: dict[Future[float], Unit] = {}
    os.environ["OMP_NUM_THREADS"] = "1"  # read by the processes that begin now
    with ProcessPoolExecutor(
        jobs, mp_context=get_context("spawn"), initializer=_begin, initargs=(begin,)
    ) as pool:
        while waiting or running:
            for unit in _ready(bench, waiting, jobs - len(running)):
                waiting.remove(unit)
                running[pool.submit(_finish, bench, unit)] = unit
            if not running:
                failed += [unit.name for unit in waiting]
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                unit = running.pop(future)
                error = future.exception()
                if error is None:
                    progress.finished(unit, future.result(), waiting)
                else:
                    failed.append(unit.name)
                    print(f"FAILED {unit.name}", flush=True)
                    traceback.print_exception(error)
    return failed


def _begin(begin: Callable[[], None] | None) -> None:
    torch.set_num_threads(1)
    if begin is not None:
        begin()


def _finish(bench: Results, unit: Unit) -> float:
    began = time.perf_counter()
    result = unit.measure(bench)
    wall = time.perf_counter() - began
    bench.keep(unit.name, {**result, "wall": wall})
    return wall


def _ready(bench: Results, waiting: Sequence[Unit], places: int) -> list[Unit]:
    found = list[Unit]()
    for unit in waiting:
        if len(found) == places:
            break
        if all(bench.result(need) is not None for need in unit.needs):
            found.append(unit)
    return found


@dataclass(slots=True)
class _Progress:
    bench: Results
    units: Sequence[Unit]
    jobs: int
    took: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        done = 0
        for unit in self.units:
            result = self.bench.result(unit.name)
            if result is not None:
                done += 1
                self.took[unit.kind].append(result["wall"])
        print(f"{len(self.units)} units, {done} of them finished earlier", flush=True)

    def finished(self, unit: Unit, seconds: float, waiting: Sequence[Unit]) -> None:
        """Say so, and about how long the rest takes: as long as its kind took so far."""
        self.took[unit.kind].append(seconds)
        typical = fmean(each for several in self.took.values() for each in several)
        left = sum(
            fmean(self.took[each.kind]) if self.took.get(each.kind) else typical
            for each in waiting
        )
        done = sum(map(len, self.took.values()))
        print(
            f"[{done}/{len(self.units)}] {unit.name}: {seconds:.0f} s; "
            f"about {left / self.jobs / 60:.0f} min left",
            flush=True,
        )
