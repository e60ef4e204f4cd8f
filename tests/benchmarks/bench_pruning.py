"""Whether searched sub-networks beat random ones and those by magnitude, at the same size.

Run from the project root::

    make bench-pruning SUITE=folder [TASKS="fashion kanji"] [SEEDS=3] [SHARES="0.5 0.25"] [JOBS=1]

SUITE is a folder of TASK.zip archives. The whole network is a narrow ResNet18; for every task,
seed and share of its parameters one part of it is searched for, one is drawn at random and two
are taken by the magnitudes of the trained whole one. All are trained from fresh weights, alike
and for as many epochs, and measured on the test images. What is finished lies in ``var/bench``,
so the run may be cut and go on. Differences are paired by task and seed; intervals are bootstrap
ones over tasks, then seeds. A process has one thread.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median

from tests.benchmarks.pruning.measuring import (
    ARMS,
    FULL,
    MAGNITUDES,
    RANDOM,
    SEARCHED,
    Pruning,
    Settings,
    named,
)
from tests.benchmarks.results import Rows, conclude, lead, whole
from tests.benchmarks.transfer.spelling import table
from tests.benchmarks.units import finish

ROOT = Path("var/bench/pruning")
# Those that settings were tried on (greek_lower, icons_arrows, sprites_creatures) are not here.
TASKS = (
    "fashion", "mnist5k", "latin_lower", "hiragana", "telugu", "emoji_hands", "icons_ui",
    "sprites_terrain", "cards_rank", "texture_patches",
)  # fmt: skip


def rows(bench: Pruning, tasks: Sequence[str], seeds: int, shares: Sequence[float]) -> Rows:
    """Results by task and seed, of each by arm and share: of all pairs that are whole."""

    def units(task: str, seed: int) -> dict[str, str]:
        parts = {_key(arm, at): named(task, seed, arm, at) for at in shares for arm in ARMS}
        return {FULL: named(task, seed, FULL), **parts}

    return whole(bench, tasks, seeds, units)


def compared(found: Rows, share: float) -> str:
    """The table of one share: every arm's mean, and the searched one's lead over it."""
    whole = fmean(row[FULL]["parameters"] for row in found.values())
    names = {SEARCHED: "searched", RANDOM: "random", **MAGNITUDES, FULL: "the whole network"}
    body = []
    for arm, name in names.items():
        own = [row[_key(arm, share)] for row in found.values()]
        size = fmean(each["parameters"] for each in own) / whole
        cells = [name, f"{100 * fmean(e['accuracy'] for e in own):.1f}", f"{100 * size:.1f} %"]
        cells.append(f"{fmean(each['choosing'] + each['training'] for each in own):.0f} s")
        body.append((*cells, *(("", "") if arm == SEARCHED else _lead(found, arm, share))))
    return table(("arm", "test", "parameters", "CPU", "searched - arm, median", "won-lost"), body)


def _key(arm: str, share: float) -> str:
    return FULL if arm == FULL else f"{arm} {share:g}"


def _lead(found: Rows, arm: str, share: float) -> tuple[str, str]:
    own, other = _key(SEARCHED, share), _key(arm, share)
    ahead = lead(found, median, lambda row: row[own]["accuracy"] - row[other]["accuracy"])
    return str(ahead), ahead.balance


def main() -> None:
    """Measure what is missing, and print a table for each share."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("suite", type=Path)
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--shares", nargs="+", type=float, default=(0.5, 0.25))
    parser.add_argument("--side", type=int, default=Settings().side)
    parser.add_argument("--epochs", type=int, default=Settings().epochs)
    parser.add_argument("--search-epochs", type=int, default=Settings().search_epochs)
    parser.add_argument("--weights", choices=("fresh", "kept"), default="fresh")
    parser.add_argument("--blocks", action="store_true", help="residual blocks are components")
    parser.add_argument("--source", help="the task to search on; by default the target itself")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    settings = Settings(
        side=given.side,
        epochs=given.epochs,
        search_epochs=given.search_epochs,
        weights=given.weights,
        blocks=given.blocks,
        source=given.source,
    )
    bench = Pruning(given.suite, ROOT, settings, given.device)
    units = list(bench.units(given.tasks, given.seeds, given.shares))
    failed = finish(bench, units, given.jobs)
    found = rows(bench, given.tasks, given.seeds, given.shares)
    for share in given.shares:
        print(f"\nAt {100 * share:g} % of the parameters, {len(found)} pairs:\n")
        print(compared(found, share))
    conclude(failed)


if __name__ == "__main__":
    main()
