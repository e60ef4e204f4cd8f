"""One step of the bilevel search against quark0/darts: CPU time, memory, equal results.

    REFERENCE=PATH python -m tests.benchmarks.bench_search [--rounds N] [--threads N]

PATH is a checkout of github.com/quark0/darts; without it only the textbook network of the tests
is compared, and ratios are null. A step is an architecture step and a weight step on one batch.
The implementations alternate in one process; medians. On a CPU seconds are those of the process,
so that other work on the machine counts less; on a GPU those of the clock. Memory is the growth
of a process of its own over its first steps (GPU: of what is allocated). The logits' difference
is taken in float64.

Writes var/bench/search.json, of which it leaves alone what others put there.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.nas import methods
from core.nas.loop import TrainingConfig, gradients
from core.nas.optimisers import Adam, Momentum
from core.nas.precision import Precision, autocast, widened
from core.nas.space import Space
from core.nas.supernet import Supernet
from tests.benchmarks.quark0 import CLIP, DECAY, MOMENTUM, RATE, Reference
from tests.unit.nas.plain_darts import PlainDarts, pack

RESULT = Path("var/bench/search.json")
CLASSES = 10


@dataclass(frozen=True, slots=True)
class Case:
    """One search: space, side of the images in pixels, batch, order, device, precision.

    The reference computes in single precision, whatever ours does.
    """

    space: Space
    side: int
    batch: int
    unrolled: bool = False
    device: str = "cpu"
    precision: Precision = "fp32"

    def images(self, kind: torch.dtype = torch.float32) -> Tensor:
        """Noise from the case's own seed."""
        shape = self.batch, self.space.input_channels, self.side, self.side
        drawn = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=kind)
        return drawn.to(self.device)

    def labels(self) -> Tensor:
        """Every class."""
        return (torch.arange(self.batch) % CLASSES).to(self.device)

    def __str__(self) -> str:
        space = self.space
        return (
            f"C{space.channels} L{space.layers} B{self.batch} "
            f"{self.side}x{self.side}x{space.input_channels}, "
            f"{'second' if self.unrolled else 'first'} order"
            + (f", {self.precision}" if self.precision != "fp32" else "")
        )


_C16L8 = Space(channels=16, layers=8, input_channels=3)
_C8L5 = Space(channels=8, layers=5, input_channels=1)
CASES = {
    "cpu.c16l8.first": Case(_C16L8, 32, 16),
    "cpu.c8l5.first": Case(_C8L5, 16, 64),
    "cpu.c16l8.second": Case(_C16L8, 32, 16, unrolled=True),
    "cpu.c8l5.second": Case(_C8L5, 16, 64, unrolled=True),
    "gpu.c16l8.first": Case(_C16L8, 32, 64, device="cuda"),
    "gpu.c16l8.bf16": Case(_C16L8, 32, 64, device="cuda", precision="bf16"),
    "gpu.c16l8.second": Case(_C16L8, 32, 64, unrolled=True, device="cuda"),
}
# Small searches, such as the demo's: printed, against the textbook alone.
SMALL = (
    Case(Space(channels=4, layers=3, input_channels=1), 12, 32),
    Case(Space(channels=4, layers=3, input_channels=1), 16, 64),
    Case(Space(channels=8, layers=3, input_channels=1), 16, 64),
)

Step = Callable[[], None]


def plain_network(case: Case) -> PlainDarts:
    """The textbook network from which all others take their weights."""
    torch.manual_seed(0)
    return PlainDarts(case.space, CLASSES).to(case.device)


def our_step(network: nn.Module, case: Case) -> Step:
    """The step of the search: of the packed supernet, or (first order) the textbook network."""
    images, labels = case.images(), case.labels()
    named = dict(network.named_parameters())
    adam = Adam([p for name, p in named.items() if name.startswith("alphas_")])
    descent = Momentum([p for name, p in named.items() if not name.startswith("alphas_")])
    config = TrainingConfig(epochs=1, momentum=MOMENTUM, weight_decay=DECAY, gradient_clip=CLIP)

    def loss() -> Tensor:
        with autocast(case.precision, torch.device(case.device)):
            logits = network(images)
        return F.cross_entropy(widened(logits), labels)

    def of_alphas() -> tuple[Tensor | None, ...]:
        if case.unrolled:
            assert isinstance(network, Supernet)
            method = methods.create("darts-second-order", network)
            batch = images, labels
            return method.gradients(batch, batch, descent=descent, config=config, rate=RATE)
        return gradients(loss(), adam.parameters)

    def step() -> None:
        adam.step(of_alphas(), rate=3e-4, weight_decay=1e-3)
        descent.step(
            gradients(loss(), descent.parameters),
            rate=RATE,
            momentum=MOMENTUM,
            weight_decay=DECAY,
            clip=CLIP,
        )

    return step


def step_of(name: str, case: Case, checkout: Path | None) -> Step:
    """A step by implementation: packed, textbook or reference."""
    plain = plain_network(case)
    if name == "reference":
        assert checkout is not None
        reference, images, labels = Reference(checkout, plain), case.images(), case.labels()
        return lambda: reference.step(images, labels, unrolled=case.unrolled)
    return our_step(plain if name == "textbook" else pack(plain).to(case.device), case)


def seconds(steps: dict[str, Step], rounds: int, device: str) -> dict[str, float]:
    """Median seconds of a step, by implementation."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in steps}
    for round_ in range(rounds + 1):  # the first one builds kernels
        for name, step in steps.items():
            gc.collect()  # or one pays for the garbage of another
            started = clock()
            step()
            if device == "cuda":
                torch.cuda.synchronize()
            if round_:
                times[name].append(clock() - started)
    return {name: statistics.median(values) for name, values in times.items()}


def logit_difference(case: Case, checkout: Path) -> float:
    """Largest difference between the reference's and our logits in training, in float64."""
    plain = plain_network(case).double()
    images = case.images(torch.float64)
    with torch.no_grad():
        theirs = Reference(checkout, plain).network(images)
        return float((theirs - pack(plain).to(case.device)(images)).abs().max())


def peak(name: str, key: str, checkout: Path | None) -> int:
    """Bytes by which two steps make this process, or a GPU's allocations, grow."""
    case = CASES[key]
    step = step_of(name, case, checkout)
    if case.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        step()
        step()
        return torch.cuda.max_memory_allocated()
    before = _resident("VmRSS")
    step()
    step()
    return _resident("VmHWM") - before


def _resident(field: str) -> int:
    # Not `resource.getrusage`: its peak includes the parent's, over the exec.
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def _peak_elsewhere(name: str, key: str) -> int:
    command = [sys.executable, "-m", "tests.benchmarks.bench_search", "--peak", name, key]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(found.stdout.split()[-1])


def measure(key: str, checkout: Path | None, rounds: int) -> dict[str, float | None]:
    """The key's entry of the result, printed as a row."""
    case = CASES[key]
    names = ["packed", *(["reference"] if checkout else [])]
    if not case.unrolled:
        names.append("textbook")
    found = seconds({n: step_of(n, case, checkout) for n in names}, rounds, case.device)
    packed, theirs = found["packed"], found.get("reference")
    memory = _peak_elsewhere("packed", key)
    entry = {
        "seconds_per_step": packed,
        "reference_seconds_per_step": theirs,
        "ratio": theirs and theirs / packed,
        "memory_ratio": memory / _peak_elsewhere("reference", key) if checkout else None,
        "max_logit_difference": logit_difference(case, checkout) if checkout else None,
    }
    textbook = f"{found['textbook']:8.2f}" if "textbook" in found else " " * 8
    values = "".join(f"{'-' if v is None else f'{v:.3g}':>12}" for v in entry.values())
    print(f"{case!s:42}{values}{textbook}{memory / 2**20:9.0f}", flush=True)
    return entry


def _small(rounds: int) -> None:
    names = "packed", "textbook"
    for case in SMALL:
        found = seconds({n: step_of(n, case, None) for n in names}, rounds, case.device)
        ratio = found["textbook"] / found["packed"]
        print(f"{case!s:42}{found['packed']:12.3g}  textbook x{ratio:.2f}", flush=True)


def main() -> None:
    """Measure, print the table and write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="keys that begin so")
    parser.add_argument("--peak", nargs=2, metavar=("IMPLEMENTATION", "KEY"))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    checkout = Path(os.environ["REFERENCE"]) if os.environ.get("REFERENCE") else None
    if given.peak:
        print(peak(*given.peak, checkout))
        return
    columns = ("packed s", "reference s", "ratio", "memory", "logits", "textbook", "MiB")
    print(f"{f'{given.threads} thread(s)':42}" + "".join(f"{c:>12}" for c in columns[:5])
          + f"{columns[5]:>8}{columns[6]:>9}")  # fmt: skip
    result = json.loads(RESULT.read_text()) if RESULT.exists() else {"robust": None}
    for key, case in CASES.items():
        if key.startswith(given.only):
            there = case.device == "cpu" or torch.cuda.is_available()
            result[key] = measure(key, checkout, given.rounds) if there else None
    _small(given.rounds)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
