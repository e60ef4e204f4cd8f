"""What jobs cost in a cluster: latency through Redis, overhead of the protocol, a second worker.

Run from the project root, with nothing else on the machine::

    python -m tests.benchmarks.bench_cluster [--only latency overhead throughput] [--quick]

The compose file's cluster runs without Docker on loopback, with two workers of one thread each
(see `make cluster`); all of it takes about half an hour. Prints a table and writes
`var/bench/cluster.json`. On two cores the servers take their part from the workers: beside the
second worker's gain stands that of a second bare process.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.cluster import measuring
from tests.benchmarks.cluster.measuring import Row
from tests.benchmarks.cluster.scene import Scene
from tests.cluster.running import cluster
from tests.e2e import shapes

OUT = Path("var/bench/cluster.json")
PARTS = ("latency", "overhead", "throughput")


def measured(folder: Path, parts: list[str], *, quick: bool) -> list[Row]:
    """The rows of the parts asked for, on a cluster of their own."""
    rows: list[Row] = []
    with cluster(folder, workers=2, threads=1, more={"HEADSTART_ZOO": "off"}, say=_say) as made:
        images = 20 if quick else 100
        archives = [
            shapes.archive(folder / f"{name}.zip", images=images, seed=seed)
            for seed, name in enumerate(("source", "target"))
        ]
        scene = Scene.of(made, archives)
        if "latency" in parts:
            _say("latency")
            rows += measuring.latency(scene, 5 if quick else 100, bar=True)
            rows += measuring.without_redis(made, scene, 2 if quick else 10)
        if "overhead" in parts:
            _say("overhead")
            sizes = {"epochs": 1, "rounds": 1} if quick else {"epochs": 20, "rounds": 4}
            rows += measuring.overhead(scene, folder, **sizes, say=_say)
        if "throughput" in parts:
            _say("throughput")
            size = {"epochs": 1, "jobs": 2, "rounds": 1}
            full = {"epochs": 8, "jobs": 4, "rounds": 3}
            rows += measuring.throughput(scene, folder, **(size if quick else full), say=_say)
    return rows


def main() -> int:
    """Measure, print a table, write the figures; 1 when a bar was missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--quick", action="store_true", help="that it works, not what it takes")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headstart-bench-") as name:
        rows = measured(Path(name), given.only, quick=given.quick)
    print("| | median | from | to | n | bar | |\n|---|---|---|---|---|---|---|")
    for row in rows:
        figures = f"{row.median:.3f} | {row.low:.3f} | {row.high:.3f} | {row.count}"
        verdict = {True: "passed", False: "missed", None: ""}[row.passed]
        print(f"| {row.measure} ({row.unit or 'share'}) | {figures} | {row.bar} | {verdict} |")
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps([row.to_json() for row in rows], indent=1) + "\n")
    return int(not given.quick and any(row.passed is False for row in rows))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
