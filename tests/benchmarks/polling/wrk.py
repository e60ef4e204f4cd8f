"""wrk, Debian's: so many connections that ask as fast as they are answered."""

import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).with_name("poll.lua")


@dataclass(frozen=True, slots=True)
class Load:
    """What came of one run; milliseconds."""

    per_second: float
    median_ms: float
    p99_ms: float
    statuses: Counter[int]
    lost: int  # connections that broke or said nothing for too long


def load(
    url: str,
    lines: Sequence[tuple[str, str]],
    *,
    folder: Path,
    connections: int,
    seconds: float,
    key: str | None = None,
) -> Load:
    """Poll these paths, each with the entity tag that is known of it ("": none)."""
    program = shutil.which("wrk")
    if program is None:
        raise SystemExit("wrk is not installed: apt-get install wrk")
    polled = folder / "polled.txt"
    polled.write_text("".join(f"{path} {tag}\n" for path, tag in lines))
    told = {**os.environ, "POLLED": str(polled)} | ({"POLL_KEY": key} if key else {})
    command = [program, "--threads", "1", "--connections", str(connections), "--timeout", "20s"]
    command += ["--duration", f"{seconds:g}s", "--script", str(SCRIPT), url]
    said = subprocess.run(command, env=told, capture_output=True, text=True, check=True).stdout
    found = re.search(r"^RESULT (\d+) (\d+) (\S+) (\S+) (\d+)$", said, re.MULTILINE)
    if found is None:
        raise SystemExit(f"wrk said nothing of use:\n{said}")
    statuses = Counter[int]()
    for status, count in re.findall(r" s(\d+)=(\d+)", said):
        statuses[int(status)] += int(count)
    requests, microseconds = int(found[1]), int(found[2])
    median, p99 = float(found[3]), float(found[4])
    return Load(requests / microseconds * 1e6, median, p99, statuses, int(found[5]))
