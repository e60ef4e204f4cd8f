"""How much memory this process and its children may use before the kernel kills one of them."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")
PEAK_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes, of getrusage's largest resident set


def limit_bytes(proc: Path = PROC, cgroups: Path = CGROUPS) -> int | None:
    """The least of the machine's memory and the limits of our control groups, if any is known."""
    limits = [*_machine(), *_groups(proc, cgroups)]
    return min(limits, default=None)


def _machine() -> Iterator[int]:
    try:
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):  # not every system counts its pages
        return


def _groups(proc: Path, cgroups: Path) -> Iterator[int]:
    """The limits of our group and of every group that holds it, in either version's files."""
    for line in _read(proc / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            root, name = cgroups, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = cgroups / "memory", "memory.limit_in_bytes"
        else:
            continue
        # In a container the path may be the host's; its own limit then lies at the root.
        folder = root / path.lstrip("/")
        for place in (folder, *folder.parents):
            if place.is_relative_to(root) and (said := _read(place / name).strip()).isdecimal():
                yield int(said)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
