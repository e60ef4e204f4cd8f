"""Tries the interface against its document, and prints a table: operation, cases, failures."""

import argparse
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.contract import scene
from tests.contract.checking import tried


def main() -> int:
    """How many operations failed."""
    parser = argparse.ArgumentParser(prog="make contract")
    parser.add_argument("--examples", type=int, default=500, help="for each operation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--paths", default="", help="only what begins so (a regular expression)")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, scene.served(Path(home)) as served:
        found = tried(served, examples=asked.examples, seed=asked.seed, paths=asked.paths)
    table = Table("operation", "cases", "accepted", "seconds", "failures")
    for name, each in sorted(found.items()):
        numbers = f"{each.cases:,}", f"{each.accepted:,}", f"{each.seconds:.1f}"
        table.add_row(name, *numbers, str(len(each.failures)))
    total = sum(each.cases for each in found.values())
    failed = sum(len(each.failures) for each in found.values())
    table.add_row("all", f"{total:,}", "", "", str(failed))
    console = Console()
    console.print(table)
    for name, each in sorted(found.items()):
        for what, told in each.failures.items():
            console.print(f"{name}: {what}\n{told}\n", markup=False, soft_wrap=True)
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
