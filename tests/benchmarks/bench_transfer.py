"""Does starting from other tasks' supernets pay, on targets that those have never seen?

Run from the project root::

    python -m tests.benchmarks.bench_transfer SUITE --scale tiny|small|full
        [--targets NAME ...] [--seeds N] [--jobs N] [--resnet18 FILE] [--device DEVICE]
        [--document FILE]

SUITE is a folder of TASK.zip archives. For every target and seed the cold start (random head, its
own best learning rate) is compared with starts from the nearest, the farthest and a random other
task, from a supernet of several tasks that the target is none of, and with the race of the
product; each goes on to cells, a derived network and a brief retraining. Controls: random cells
of equal size that inherit, one trained from scratch for as many seconds, a ResNet18 if its
weights are given. Every finished unit of work is a file in var/bench/transfer/SCALE; a second
start goes on where the first ended. Written: var/bench/transfer.json, pictures beside the units,
and, where the scale's own targets were measured, docs/evidence.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import torch

from tests.benchmarks.results import conclude
from tests.benchmarks.transfer import document, figures, pictures, plan
from tests.benchmarks.transfer.settings import SCALES, Bench
from tests.benchmarks.transfer.tasks import spread_over_domains

ROOT, RESULT = Path("var/bench/transfer"), Path("var/bench/transfer.json")
DOCUMENT = Path("docs/evidence.md")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("suite", type=Path)
    parser.add_argument("--scale", choices=SCALES, default="tiny")
    parser.add_argument("--targets", nargs="+", default=[], help="instead of the scale's own")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, help="by default one a core, or one on a GPU")
    parser.add_argument("--resnet18", type=Path, help="ImageNet weights, a safetensors file")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--document", type=Path, help="where the report goes")
    given = parser.parse_args()
    if given.jobs is None:
        given.jobs = (os.cpu_count() or 1) if given.device == "cpu" else 1
    return given


def main() -> None:
    """Measure what is not measured yet, and write what all of it says."""
    given = parse()
    bench = Bench(
        given.suite, ROOT / given.scale, SCALES[given.scale], given.device, given.resnet18
    )
    unknown = sorted(set(given.targets) - set(bench.domains))
    if unknown:
        sys.exit(f"targets: {', '.join(unknown)} not in {given.suite}")
    targets = tuple(given.targets) or spread_over_domains(bench.domains, bench.scale.targets)
    print(f"{bench.folder}: {len(targets)} targets, {given.seeds} seeds: {', '.join(targets)}")
    if given.resnet18 is None:
        print("the arm of a fine-tuned ResNet18 is left out: no weights were given")
    failed = plan.work(bench, plan.of_distances(bench, targets), given.jobs)
    if not failed:
        failed = plan.work(bench, plan.of_targets(bench, targets, given.seeds), given.jobs)
        write(bench, targets, given)
    conclude(failed)


def write(bench: Bench, targets: tuple[str, ...], given: argparse.Namespace) -> None:
    """The figures, the pictures and the report."""
    found = figures.gather(bench, targets, given.seeds)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(found, indent=1))
    drawn = pictures.draw(bench, found)
    own = bench.folder / "evidence.md" if given.targets else DOCUMENT
    path = given.document or own
    path.write_text(document.write(found, picture=f"{path.stem}.svg"))
    path.with_suffix(".svg").write_text(drawn)
    print(f"written: {RESULT}, {path} and its picture, others in {bench.folder / 'pictures'}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("stopped; another start goes on from here")
