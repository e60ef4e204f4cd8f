"""Results of units as files, and what they say when one arm is paired with another."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from tests.benchmarks.transfer.resampling import interval
from tests.benchmarks.transfer.spelling import bracket, points

Pair = tuple[str, int]  # a task, and a seed or a draw
Rows = Mapping[Pair, Mapping[str, Any]]
Statistic = Callable[[Sequence[float]], float]


class Filed:
    """Keeps a file for every unit, in a folder of its own for all that decides the results.

    What was measured with other settings is never mixed in. The code does not count as decisive:
    whoever changes what a unit means changes `decided`, too.
    """

    __slots__ = ()

    root: Path

    @property
    def decided(self) -> Any:
        """All that decides a result but its unit; JSON-able."""
        raise NotImplementedError

    @property
    def folder(self) -> Path:
        """Where results gather."""
        said = json.dumps(self.decided, sort_keys=True)
        return self.root / hashlib.sha256(said.encode()).hexdigest()[:12]

    def result(self, unit: str) -> Any:
        """What a finished unit wrote; None while it is not finished."""
        path = self.folder / f"{unit}.json"
        return json.loads(path.read_text()) if path.exists() else None

    def keep(self, unit: str, result: Mapping[str, Any]) -> None:
        """Write a unit's result, all of it or nothing."""
        with self.writing(f"{unit}.json") as path:
            path.write_text(json.dumps(result))

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """A path to write to, which becomes that file when all is written."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{os.getpid()}")
        yield partial
        partial.replace(path)


def whole(
    bench: Filed,
    tasks: Sequence[str],
    seeds: int,
    units: Callable[[str, int], Mapping[str, str]],
) -> Rows:
    """Results by task and seed, of each by arm: of all pairs that are whole.

    Args:
        bench: Has them.
        tasks: Of the rows.
        seeds: How many.
        units: The unit of each arm, of a task and a seed.
    """
    found = {}
    for seed in range(seeds):
        for task in tasks:
            row = {arm: bench.result(unit) for arm, unit in units(task, seed).items()}
            if None not in row.values():
                found[task, seed] = row
    return found


@dataclass(frozen=True, slots=True)
class Lead:
    """How far one arm is ahead of another, paired by task and seed.

    Args:
        groups: Differences by task, of each its seeds'.
        of: Mean or median, of all together.
    """

    groups: Mapping[str, Sequence[float]]
    of: Statistic

    @property
    def all(self) -> list[float]:
        """Every difference."""
        return [lead for group in self.groups.values() for lead in group]

    @property
    def balance(self) -> str:
        """How many pairs were won and lost."""
        won, lost = (sum(sign * lead > 0 for lead in self.all) for sign in (1, -1))
        return f"{won}-{lost}"

    @property
    def tasks_won(self) -> str:
        """On how many tasks the mean is ahead."""
        won = sum(fmean(group) > 0 for group in self.groups.values())
        return f"{won} of {len(self.groups)}"

    def __str__(self) -> str:
        """With its 95 % interval: bootstrap over tasks, then seeds."""
        bounds = interval(list(self.groups.values()), self.of)
        return f"{points(self.of(self.all))} {bracket(bounds, points)}"


def lead(rows: Rows, of: Statistic, difference: Callable[[Mapping[str, Any]], float]) -> Lead:
    """The lead that `difference` reads from every row."""
    groups: dict[str, list[float]] = {}
    for (task, _), row in rows.items():
        groups.setdefault(task, []).append(difference(row))
    return Lead(groups, of)


def conclude(failed: Sequence[str]) -> None:
    """Leave with an error that names what failed, if anything did."""
    if failed:
        sys.exit(f"{len(failed)} units failed; a second start repeats them: {', '.join(failed)}")
