"""What a few images are best given to: a network that learned elsewhere, part of it, or a new one.

Run from the project root::

    make bench-few-shot SUITE=folder [TASKS="fashion kanji"] [DRAWS=5] [SHOTS="5 20"] [JOBS=1]

SUITE is a folder of TASK.zip archives. The source of a target is the nearest other task of the
suite. There the narrow ResNet18 of bench_pruning is trained, a mask searched for that leaves a
share of it, and the part trained, too. Then so many images of each class of the target are drawn,
again and again, and every arm learns from the same ones, for as many steps; its accuracy is that
on the test images. Leads over the whole network of fresh weights are paired by target and draw;
intervals are bootstrap ones over targets, then draws. A target is won where the mean lead is
positive. A process has one thread.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median

from tests.benchmarks.few_shot.measuring import (
    ARMS,
    SCRATCH,
    FewShot,
    Settings,
    named,
    order,
)
from tests.benchmarks.results import Rows, conclude, lead, whole
from tests.benchmarks.transfer.spelling import table
from tests.benchmarks.units import finish

ROOT = Path("var/bench/few-shot")
# Those that settings were tried on (greek_lower, icons_arrows, sprites_creatures) are not here.
TASKS = (
    "fashion", "mnist5k", "latin_lower", "hiragana", "kanji", "emoji_hands", "icons_ui",
    "cards_rank", "texture_patches", "furniture",
)  # fmt: skip


def rows(bench: FewShot, given: argparse.Namespace, shots: int) -> Rows:
    """Results by target and draw, of each by arm: of all pairs that are whole."""

    def units(target: str, draw: int) -> dict[str, str]:
        return {arm: named(target, shots, draw, arm) for arm in given.arms}

    return whole(bench, given.tasks, given.draws, units)


def compared(found: Rows, arms: Sequence[str]) -> str:
    """Every arm's mean, its lead over the whole network of fresh weights, and on how many targets
    its mean is better."""
    body = []
    for arm in arms:
        own = [row[arm] for row in found.values()]
        cells = [
            ARMS[arm].told,
            f"{100 * fmean(each['accuracy'] for each in own):.1f}",
            f"{fmean(each['parameters'] for each in own) / 1e3:.0f}",
            f"{fmean(each['learned'] for each in own) / 1e3:.1f}",
            f"{fmean(each['seconds'] for each in own):.1f}",
        ]
        body.append((*cells, *(("", "") if arm == SCRATCH else _lead(found, arm))))
    heads = ("arm", "test", "parameters, k", "learning, k", "CPU s", "lead, median", "targets won")
    return table(heads, body)


def _lead(found: Rows, arm: str) -> tuple[str, str]:
    ahead = lead(found, median, lambda row: row[arm]["accuracy"] - row[SCRATCH]["accuracy"])
    return str(ahead), ahead.tasks_won


def main() -> None:
    """Measure what is missing, and print a table for each number of images."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("suite", type=Path)
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--shots", nargs="+", type=int, default=(5, 20))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=tuple(ARMS))
    for name in ("share", "rate", "tuned-rate"):
        default = getattr(Settings(), name.replace("-", "_"))
        parser.add_argument(f"--{name}", type=float, default=default)
    parser.add_argument("--steps", type=int, default=Settings().steps)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    settings = Settings(
        share=given.share, steps=given.steps, rate=given.rate, tuned_rate=given.tuned_rate
    )
    bench = FewShot(given.suite, ROOT, settings, given.device)
    failed = finish(bench, [order(sorted({*TASKS, *given.tasks}))], 1)
    if not failed:
        units = bench.units(given.tasks, given.shots, given.draws, given.arms)
        failed = finish(bench, list(units), given.jobs)
    for shots in given.shots:
        found = rows(bench, given, shots)
        print(f"\nWith {shots} images of each class, {len(found)} pairs of target and draw:\n")
        if found:
            print(compared(found, given.arms))
    conclude(failed)


if __name__ == "__main__":
    main()
