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
from itertools import chain
from pathlib import Path

from tests.attacks import mutations, running, scene, states, table, transport
from tests.attacks.doors import DOORS
from tests.attacks.mutations import Outcome
from tests.attacks.running import Row
from tests.attacks.scene import Scene

RESULT = Path("var/bench/attacks.json")
HEAD = f"{'row':>3} {'attack':32} {'door':5} {'status':>6} {'code':20} {'CPU s':>6} {'MiB':>5}"


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
    where = f"{row.row:3} {row.name[:32]:32} {row.door:5} {row.status:6} {row.code[:20]:20}"
    return f"{where} {row.cpu:6.2f} {row.mib:5.0f} {words}"


def everything(stage: Scene, wanted: frozenset[int], doors: Sequence[str]) -> Iterator[Row]:
    """The rows as they come, and what shows only in the end."""
    for attack in table.attacks():
        if attack.row in wanted:
            yield from running.attacked(stage, attack, doors)
    for request in (*transport.requests(), *states.requests()):
        if request.row in wanted and request.door in doors:
            yield running.requested(stage, request)
    yield running.afterwards(stage)


def damaged(stage: Scene, asked: argparse.Namespace) -> Iterator[tuple[str, list[Outcome]]]:
    """Mutated archives, the first of them over HTTP."""
    sent = min(asked.by_http, asked.mutations)
    ways = (
        ("over HTTP", lambda: mutations.over_http(stage, range(sent), asked.seed)),
        (
            "in confined processes",
            lambda: mutations.confined(
                stage.sent, range(sent, asked.mutations), asked.seed, workers=2
            ),
        ),
    )
    for how, run in ways:
        found = list(run())
        if found:
            yield how, found


def say(words: str) -> None:
    """A line, at once."""
    sys.stdout.write(words + "\n")
    sys.stdout.flush()


def arguments() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.attacks", description=__doc__)
    parser.add_argument("--rows", default="", help="numbers and ranges of them, by comma")
    parser.add_argument("--doors", default=",".join(DOORS), help="of rest, tus and form")
    parser.add_argument("--mutations", type=int, default=10_000)
    parser.add_argument("--by-http", type=int, default=300, help="of the mutations")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULT)
    asked = parser.parse_args()
    asked.doors = asked.doors.split(",")
    if unknown := set(asked.doors) - set(DOORS):
        parser.error(f"no such door: {', '.join(unknown)}")
    return asked


def main() -> None:
    """Attack, print the table, and exit with 1 unless all of it passed."""
    asked = arguments()
    rows: list[Row] = []
    mutants: dict[str, list[Outcome]] = {}
    say(HEAD)
    with (
        tempfile.TemporaryDirectory(prefix="headstart-attacks-") as folder,
        scene.staged(Path(folder)) as stage,
    ):
        for row in everything(stage, rows_of(asked.rows), asked.doors):
            rows.append(row)
            say(line(row))
        for how, found in damaged(stage, asked):
            mutants[how] = found
            for each in found:
                if each.wrong:
                    say(f"  mutant {each.number} ({each.kind}): {'; '.join(each.wrong)}")
            say(mutations.summary(found, how))
    say(running.summary(rows))
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    told = {
        "rows": [asdict(row) for row in rows],
        "mutations": {how: [asdict(each) for each in found] for how, found in mutants.items()},
    }
    asked.out.write_text(json.dumps(told, ensure_ascii=False) + "\n")
    missed = any(each.wrong for each in chain(rows, *mutants.values()))
    sys.exit(missed)


if __name__ == "__main__":
    main()
