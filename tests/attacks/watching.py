"""What a request costs a service: CPU of it and of its intake, memory of each process.

CPU is what the kernel counts for the service and for children that it has waited for, so it is
complete however short they live. Memory is sampled: each process's own high-water mark, which
never falls, so only what it grows in its last few milliseconds can escape.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

MIB = 1024**2
INTERVAL = 0.005
INTAKE = b"core.data.child"
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Cost:
    """Seconds and MiB; `together` is of all intake processes at once, shared pages once."""

    service_cpu: float = 0.0
    intake_cpu: float = 0.0
    largest: float = 0.0
    together: float = 0.0
    growth: float = 0.0
    processes: set[int] = field(default_factory=set)

    @property
    def cpu(self) -> float:
        """Of all of it."""
        return self.service_cpu + self.intake_cpu


@contextlib.contextmanager
def watched(pid: int) -> Iterator[Cost]:
    """The cost of what the service does meanwhile; complete when the block has ended."""
    cost, ended = Cost(), threading.Event()
    before, rss = _seconds(pid), _rss(pid)

    def sample() -> None:
        while not ended.wait(INTERVAL):
            _look(pid, cost, rss)

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    try:
        yield cost
    finally:
        ended.set()
        sampler.join()
        own, children = _seconds(pid)
        cost.service_cpu = own - before[0]
        cost.intake_cpu = children - before[1]


def descendants(pid: int) -> Iterator[int]:
    """Every process below this one."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # the thread ended meanwhile
            for word in (task / "children").read_text().split():
                yield int(word)
                yield from descendants(int(word))


def _look(pid: int, cost: Cost, rss: float) -> None:
    cost.growth = max(cost.growth, _rss(pid) - rss)
    alive = []
    with contextlib.suppress(OSError):
        alive += [each for each in descendants(pid) if _is_intake(each)]
    for each in alive:
        cost.processes.add(each)
        cost.largest = max(cost.largest, _kib(each, "status", "VmHWM:") / 1024)
    if len(alive) > 1:  # costs more to ask
        together = sum(_kib(each, "smaps_rollup", "Pss:") for each in alive) / 1024
        cost.together = max(cost.together, together)
    cost.together = max(cost.together, cost.largest)


def _is_intake(pid: int) -> bool:
    """Whether it is a child that has begun to be one, or a process forked off it."""
    with contextlib.suppress(OSError):
        return INTAKE in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def _kib(pid: int, file: str, name: str) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1])
    return 0


def _rss(pid: int) -> float:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE / MIB
    return 0.0


def _seconds(pid: int) -> tuple[float, float]:
    """CPU of the process, and of its ended children and theirs."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system, children_user, children_system = map(int, fields[11:15])
    return (user + system) / _TICKS, (children_user + children_system) / _TICKS
