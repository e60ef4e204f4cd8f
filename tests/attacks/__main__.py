"""`make attack`: every hostile upload against a running service, by every door.

python -m tests.attacks [--rows 1,7-9] [--doors rest,tus,form] [--mutations 10000] [--by-http 300]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from tests.attacks import running, scene, states, table, transport
from tests.attacks.doors import DOORS
from tests.attacks.running import Row

RESULT = Path("var/bench/attacks.json")
HEAD = f"{'row':>3} {'attack':34} {'door':6} {'status':>6} {'code':22} {'CPU s':>6} {'MiB':>6}"


def rows_of(text: str) -> frozenset[int]:
    """`1,7-9` as numbers; all of them if nothing is said."""
    found: set[int] = set()
    for each in text.split(",") if text else ["1-62"]:
        first, _, last = each.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return frozenset(found)


def line(row: Row) -> str:
    """A row for people."""
    words = "passed" if row.passed else f"MISSED: {'; '.join(row.wrong)}"
    where = f"{row.row:3} {row.name[:34]:34} {row.door:6} {row.status:6} {row.code[:22]:22}"
    return f"{where} {row.cpu:6.2f} {row.mib:6.0f} {words}"


def everything(folder: Path, wanted: frozenset[int], doors: Sequence[str]) -> Iterator[Row]:
    """The rows as they come."""
    with scene.staged(folder) as stage:
        for attack in table.attacks():
            if attack.row in wanted:
                yield from running.attacked(stage, attack, doors)
        for request in (*transport.requests(), *states.requests()):
            if request.row in wanted and request.door in doors:
                yield running.requested(stage, request)


def main() -> None:
    """Attack, print the table, and exit with 1 unless all of it passed."""
    parser = argparse.ArgumentParser(prog="python -m tests.attacks", description=__doc__)
    parser.add_argument("--rows", default="", help="numbers and ranges of them, by comma")
    parser.add_argument("--doors", default=",".join(DOORS), help="of rest, tus and form")
    parser.add_argument("--out", type=Path, default=RESULT)
    asked = parser.parse_args()
    doors = [each for each in asked.doors.split(",") if each in DOORS]
    rows: list[Row] = []
    sys.stdout.write(HEAD + "\n")
    with tempfile.TemporaryDirectory(prefix="headstart-attacks-") as folder:
        for row in everything(Path(folder), rows_of(asked.rows), doors):
            rows.append(row)
            sys.stdout.write(line(row) + "\n")
            sys.stdout.flush()
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    sys.exit(not all(row.passed for row in rows))


if __name__ == "__main__":
    main()
