"""`make chaos`: break a cluster of real processes in every way foreseen, and judge what is left.

python -m tests.chaos [--scale 0.1] [--only kills,redis] [--store s3] [--seed 1] [--list]
"""

import argparse
import random
import sys
import time
from dataclasses import replace
from pathlib import Path

from tests.chaos.processes import Servers, servers
from tests.chaos.report import Row, say, table, write
from tests.chaos.scenarios import SCENARIOS, Scenario, chosen

RESULT = Path("var/bench/chaos.json")


def outcome(scenario: Scenario, running: Servers, runs: int, seed: int) -> Row:
    """Its row; one that says no more than that it failed if it came to no end."""
    try:
        return scenario.run(running, runs, seed)
    except Exception as error:  # noqa: BLE001 - the others shall have their turn
        say(f"  {scenario.name}: {error!r}")
        return Row(scenario.name, runs, 0, 0, 0, 0.0, passed=False)


def main() -> None:
    """Run what is asked for, print the table, and exit with 1 unless all of it passed."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the runs of each fault")
    parser.add_argument("--only", default="", help="names, or beginnings of them, by comma")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--store", choices=("local", "s3"), default="local")
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--list", action="store_true", help="say what there is, and stop")
    asked = parser.parse_args()
    if asked.list:
        sys.stdout.write("".join(f"{each.name:26} x {each.runs}\n" for each in SCENARIOS))
        return
    say(f"seed {asked.seed}")
    rows: list[Row] = []
    with servers(store=asked.store) as running:
        for each in chosen(asked.only):
            begun = time.monotonic()
            row = outcome(each, running, max(1, round(each.runs * asked.scale)), asked.seed)
            rows.append(row if running.s3 is None else replace(row, fault=f"{row.fault}, on S3"))
            say(f"{table(rows[-1:]).splitlines()[1]}  [{time.monotonic() - begun:.0f} s]")
            write(rows, asked.out)
    sys.stdout.write(table(rows) + "\n")
    sys.exit(not all(row.passed for row in rows))


if __name__ == "__main__":
    main()
