"""What intake costs: seconds against a loader that decodes the same images.

Run from the project root, with nothing else on the machine (`make bench-intake`)::

    python -m tests.benchmarks.bench_intake [--scale 0.1] [--repeats 3]

Prints a table and writes `var/bench/intake.json`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tests.benchmarks.intake import speed

OUT = Path("var/bench/intake.json")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the images")
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    rows = []
    for kind in speed.KINDS:
        rows.append(speed.compared(kind, scale=asked.scale, repeats=asked.repeats))
        sys.stdout.write("; ".join(f"{name} {value}" for name, value in rows[-1].items()) + "\n")
        sys.stdout.flush()
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
