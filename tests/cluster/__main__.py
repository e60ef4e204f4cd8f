"""`make cluster`: the demo's main job through PostgreSQL, Redis, S3, the API and two workers.

The compose file's own commands and environment run as plain processes on loopback. In the end the
architectures must be those that `make demo` finds with the same seed: taken from its result when
nothing has changed since, else from a run of its own. Everything is gone when this ends.
"""

import argparse
import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from api.demo import __main__ as demo
from core.config import Settings
from tests.cluster.composition import LOOPBACK
from tests.cluster.running import answers, cluster
from tests.fixtures.processes import Process
from tests.fixtures.servers import free_port
from tests.unit.deployment.dockerfiles import PROJECT

FOLDER, DEMO = Path("var/cluster"), Path("var/demo/result.json")
PACKAGES = ("api", "core", "worker", "migrations")
ALIKE = ("genotype", "source", "learning_rate", "retrained_accuracy")
Json = dict[str, Any]
Say = Callable[[str], None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; 0 when the same architectures were found, 1 when not, or when something failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=Settings().threads, help="of each job")
    options = parser.parse_args(arguments)
    console = Console()

    def say(line: str) -> None:
        console.print(line, highlight=False, soft_wrap=True)

    # Leave by the way that stops everything; after `kill -9` it stops by itself.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with cluster(FOLDER, workers=options.workers, threads=options.threads, say=say) as made:
        seed = str(options.seed)
        if demo.main(["--url", made.url, "--folder", str(FOLDER), "--seed", seed]):
            return 1
    say(f"Everything is stopped; logs are in {FOLDER / 'logs'}")
    expected = _demo_result(options.seed, options.threads, say)
    if expected is None:
        return 1
    return _compare(_read(FOLDER / "result.json"), expected, say)


def differences(cluster_result: Json, demo_result: Json) -> list[str]:
    """Each target and arm whose architecture, start or accuracy is not the same, in words."""
    pairs = [
        (f"{target}, {arm}: {what}", cluster_result["targets"][target][arm][what], there[what])
        for target, found in demo_result["targets"].items()
        for arm, there in found.items()
        if arm in demo.ARMS
        for what in ALIKE
    ]
    return [f"{name} {here}, not {there}" for name, here, there in pairs if here != there]


def usable(result: Json, *, seed: int, written: float, changed: float) -> bool:
    """Whether a result is of this seed, of the short form, and of the code as it is."""
    short = not result["pretraining_seconds"]
    return result["seed"] == seed and short and written > changed


def last_change(project: Path) -> float:
    """When a file of the product was last written."""
    files = (path for name in PACKAGES for path in (project / name).rglob("*"))
    kinds = {".py", ".safetensors"}
    return max(path.stat().st_mtime for path in files if path.suffix in kinds)


def _demo_result(seed: int, threads: int, say: Say) -> Json | None:
    """The demo's result with that seed, from a run of its own if need be; None if that failed."""
    alike = threads == Settings().threads and not torch.cuda.is_available()
    if alike and DEMO.exists():
        changed = last_change(PROJECT)
        if usable(_read(DEMO), seed=seed, written=DEMO.stat().st_mtime, changed=changed):
            say(f"`make demo` has been run with this seed and this code: {DEMO}")
            return _read(DEMO)
    say("\nNow the same without the cluster, by `headstart serve` in an empty home")
    folder = FOLDER / "demo"
    with _embedded(threads) as url:
        failed = demo.main(["--url", url, "--folder", str(folder), "--seed", str(seed)])
    return None if failed else _read(folder / "result.json")


@contextlib.contextmanager
def _embedded(threads: int) -> Iterator[str]:
    """Where a service like the demo's own runs meanwhile, computing as the cluster does."""
    port = free_port()
    url = f"http://{LOOPBACK}:{port}"
    place = (FOLDER / "run" / "demo").absolute()
    kept = {name: text for name, text in os.environ.items() if not name.startswith("HEADSTART_")}
    told = {"HOME": str(place / "home"), "THREADS_PER_JOB": str(threads), "DEVICE": "cpu"}
    service = Process(
        [sys.executable, "-m", "api.cli", "serve", "--port", str(port)],
        kept | {f"HEADSTART_{name}": value for name, value in told.items()},
        folder=place,
        log=FOLDER / "logs" / "demo.log",
        ready=lambda _: answers(url),
    )
    try:
        service.start()
        yield url
    finally:
        service.close()


def _compare(cluster_result: Json, demo_result: Json, say: Say) -> int:
    found = differences(cluster_result, demo_result)
    for difference in found:
        say(f"[red]differs[/red] {difference}")
    if not found:
        names = ", ".join(cluster_result["targets"])
        say(
            f"`make demo` and `make cluster` give the same genotypes, starts and test accuracies "
            f"for seed {cluster_result['seed']} ({names}; {', '.join(demo.ARMS)})."
        )
    return 1 if found else 0


def _read(path: Path) -> Json:
    found: Json = json.loads(path.read_text(encoding="utf-8"))
    return found


if __name__ == "__main__":
    sys.exit(main())
