"""What intake costs and stands: its speed, messy archives, uploads that break off or are large.

Run from the project root, with nothing else on the machine (`make bench-intake`)::

    python -m tests.benchmarks.bench_intake [--only speed messy uploads] [--scale 0.1]
        [--repeats 3] [--suite FOLDER] [--uploads 200] [--gib 2] [--home FOLDER]

`speed` is beside a loader that decodes the same images. `messy` takes in archives as people make
them, out of the tasks in FOLDER (left out without it). `uploads` cuts and resumes some, and sends
four of so many GiB at once, on whatever disk `--home` is. Prints each row as it is measured and
writes `var/bench/intake.json`, where parts that were not asked for stay as they were.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.benchmarks.intake import messy, speed, uploads

OUT = Path("var/bench/intake.json")
PARTS = ("speed", "messy", "uploads")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the speed's images")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--suite", type=Path, help="folder of ImageFolder zips")
    parser.add_argument("--uploads", type=int, default=200, help="how many are cut")
    parser.add_argument("--gib", type=float, default=2.0, help="of each large upload")
    parser.add_argument("--home", type=Path, help="where the server's files are to lie")
    asked = parser.parse_args()
    if asked.suite is None and "messy" in asked.only and asked.only is not PARTS:
        parser.error("messy archives are made from tasks: name their folder by --suite")
    for part in asked.only:
        if part != "messy" or asked.suite is not None:
            keep(part, measured(part, asked))


def measured(part: str, asked: argparse.Namespace) -> Iterable[Mapping[str, Any]]:
    """The part's rows, each as soon as it is there."""
    if part == "speed":
        return (speed.compared(k, scale=asked.scale, repeats=asked.repeats) for k in speed.KINDS)
    if part == "messy":
        return messy.measured(asked.suite)
    return uploads.measured(uploads=asked.uploads, gib=asked.gib, home=asked.home)


def keep(part: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Print rows as they come and put all of them beside the other parts' last."""
    taken = []
    for row in rows:
        taken.append(dict(row))
        sys.stdout.write("; ".join(f"{name} {value}" for name, value in row.items()) + "\n")
        sys.stdout.flush()
    OUT.parent.mkdir(parents=True, exist_ok=True)
    found = json.loads(OUT.read_text()) if OUT.exists() else {}
    parts = found if isinstance(found, dict) else {}
    OUT.write_text(json.dumps({**parts, part: taken}, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
