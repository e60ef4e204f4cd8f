"""CPU time of one bilevel step: packed supernet against the textbook one, dense against depthwise.

Run from the project root: ``python -m tests.benchmarks.bench_search_step``. One thread, medians
of interleaved runs, so that a slow moment of the machine falls on every column alike: read the
ratios.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.nas.loop import gradients
from core.nas.optimisers import Adam, Momentum
from core.nas.space import Space
from tests.unit.nas.plain_darts import PlainDarts, pack

VARIANTS = ("dense", "depthwise", "auto")
ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Case:
    """One search: space, side of the images in pixels, batch."""

    space: Space
    side: int
    batch: int

    def __str__(self) -> str:
        space = self.space
        return (
            f"C{space.channels} L{space.layers} {self.side}x{self.side}x{space.input_channels} "
            f"B{self.batch}"
        )


CASES = (
    Case(Space(channels=4, layers=3, input_channels=1), 12, 32),
    Case(Space(channels=4, layers=3, input_channels=1), 16, 64),
    Case(Space(channels=8, layers=3, input_channels=1), 16, 64),
    Case(Space(channels=16, layers=8, input_channels=3), 32, 16),
)


def measure(case: Case, rounds: int = ROUNDS) -> dict[str, float]:
    """Median CPU-seconds of an architecture step and a weight step, by implementation."""
    torch.manual_seed(0)
    plain = PlainDarts(case.space, 10)
    networks: dict[str, nn.Module] = {"plain": plain}
    networks |= {variant: pack(plain, convolutions=variant) for variant in VARIANTS}
    images = torch.randn(case.batch, case.space.input_channels, case.side, case.side)
    labels = torch.arange(case.batch) % 10
    steps = {name: _step(network, images, labels) for name, network in networks.items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step()  # the first call of a shape builds its kernels
    for _ in range(rounds):
        for name, step in steps.items():
            started = time.process_time()
            step()
            times[name].append(time.process_time() - started)
    return {name: statistics.median(values) for name, values in times.items()}


def _step(network: nn.Module, images: Tensor, labels: Tensor) -> Callable[[], None]:
    named = dict(network.named_parameters())
    adam = Adam([p for name, p in named.items() if name.startswith("alphas_")])
    descent = Momentum([p for name, p in named.items() if not name.startswith("alphas_")])
    return partial(_bilevel, network, adam, descent, images, labels)


def _bilevel(
    network: nn.Module, adam: Adam, descent: Momentum, images: Tensor, labels: Tensor
) -> None:
    loss = F.cross_entropy(network(images), labels)
    adam.step(gradients(loss, adam.parameters), rate=3e-4, weight_decay=1e-3)
    loss = F.cross_entropy(network(images), labels)
    descent.step(
        gradients(loss, descent.parameters), rate=1e-3, momentum=0.9, weight_decay=3e-4, clip=5.0
    )


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print(f"{'CPU-ms per bilevel step':28}{'plain':>10}" + "".join(f"{v:>20}" for v in VARIANTS))
    for case in CASES:
        medians = measure(case)
        cells = [
            f"{medians[v] * 1e3:9.0f}  (x{medians['plain'] / medians[v]:4.2f})" for v in VARIANTS
        ]
        row = f"{case!s:28}{medians['plain'] * 1e3:10.0f}"
        print(row + "".join(f"{cell:>20}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
