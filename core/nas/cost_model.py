"""How long a search takes and how much memory, by arithmetic alone.

A step of the bilevel loop costs a little for each kernel that is called and a little for each
number that maps hold; the rest of a job is worth some epochs. The constants were measured
(ADR 0037); other machines differ by a factor, which finished jobs tell (`calibrate`).

Imports no torch: whoever serves requests says what they will cost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from core.nas import workload
from core.nas.space import Space

# Seconds of one core: for each kernel of a step, and for each number of an image's maps, of all
# images of both halves.
PER_KERNEL: Final = 3.45e-3
PER_NUMBER: Final = 9.44e-9
# Epochs of search: measuring the start, and each of a retraining with its start (.18 to .24 were
# measured; ADR 0023).
START, RETRAIN = 0.31, 0.25
DERIVED = 0.5  # for measuring what was searched and what was derived
PATH = 0.1  # of an epoch, for each path
# Seconds for starting a process, and for writing a network's files.
FILES, FILES_PER_LAYER = 9.0, 1.0
# What a method's epoch costs of plain DARTS'.
METHODS: Final[Mapping[str, float]] = {
    "darts": 1.0,
    "darts-second-order": 2.4,
    "pc-darts": 1.45,
    "drnas": 1.06,
    "sdarts-rs": 1.08,
    "darts-minus": 1.05,
    "op-dropping": 20.0,
}
# Of the numbers, those that autograd keeps for the backward pass.
KEPT, KEPT_RECOMPUTING = 0.71, 0.08
RECOMPUTING = 1.6  # of an epoch
PEAK = 1.35  # of what is kept: between the 1.2 and 1.5 that were measured
PROCESS = 1.1e9  # bytes of a process that has loaded torch and exports
WEIGHTS = 4  # copies: themselves, gradients, momentum, the best so far
FLOAT = 4  # bytes
P90 = 1.2816  # standard deviations
# Of logarithms: jobs on one machine, and one machine from another.
WITHIN, BETWEEN = 0.25, 0.7
MEMORY_WITHIN, MEMORY_BETWEEN = 0.15, 0.2
UNKNOWN = 2.3  # a device that nothing was measured on: a factor of twenty either way


@dataclass(frozen=True, slots=True)
class Shape:
    """What decides the cost of an epoch: network, images, and how they are stepped through."""

    space: Space
    resolution: int
    classes: int
    images: int
    batch_size: int
    method: str = "darts"
    paths: int = 0
    recompute: bool = False

    @property
    def steps(self) -> int:
        """Weight steps of an epoch: half of the images are for them."""
        return max(1, math.ceil(self.images / 2 / self.batch_size))

    @property
    def work(self) -> workload.Workload:
        """Of the supernet, for one image. Raises ValueError for an operation not counted."""
        return workload.supernet(self.space, self.resolution, self.classes)

    def epoch(self) -> float:
        """Seconds of one epoch of search, on one core of the reference machine (ADR 0037).

        Raises KeyError for a method that was not measured, ValueError for an operation.
        """
        work = self.work
        plain = self.steps * work.kernels * PER_KERNEL + self.images * work.numbers * PER_NUMBER
        again = RECOMPUTING if self.recompute else 1.0
        return plain * METHODS[self.method] * (1 + PATH * self.paths) * again

    def export(self) -> float:
        """Seconds for loading the libraries and for writing the files (ADR 0037)."""
        return FILES + FILES_PER_LAYER * self.space.layers

    def job(self, *, searches: int, searched: int, retrained: int, other: float) -> float:
        """Seconds of a whole job (ADR 0037); raises as `epoch` does.

        Args:
            searches: With a learning rate each; none of an architecture that is given.
            searched: Epochs of all of them.
            retrained: Epochs of the retraining.
            other: Epochs of search that a race and a choice of cells are worth.
        """
        derived = DERIVED if searches else 0.0
        units = START * searches + searched + RETRAIN * (START + retrained) + derived + other
        return self.epoch() * units + self.export()

    def tensors(self) -> float:
        """Bytes of all tensors at the peak of a step; raises ValueError as `work` does."""
        work = self.work
        pixels = self.images * self.space.input_channels * self.resolution**2
        kept = KEPT_RECOMPUTING if self.recompute else KEPT
        maps = PEAK * kept * FLOAT * work.numbers * min(self.batch_size, self.images)
        return pixels + maps + WEIGHTS * FLOAT * work.weights

    def host_bytes(self) -> float:
        """Bytes of a process that computes on the CPU; raises ValueError as `work` does."""
        return PROCESS + self.tensors()


@dataclass(frozen=True, slots=True)
class Factor:
    """By how much jobs differ from the model: its logarithm is normal."""

    mean: float
    deviation: float

    def quantiles(self) -> tuple[float, float, float]:
        """One job in ten is below the first, half below the second, one in ten above the last."""
        reach = P90 * self.deviation
        return tuple(math.exp(self.mean + each) for each in (-reach, 0.0, reach))  # type: ignore[return-value]


def calibrate(
    ratios: Sequence[float], *, within: float = WITHIN, between: float = BETWEEN
) -> Factor:
    """The factor of the next job by those of earlier ones: a normal mean with a normal prior
    (Gelman et al. 2013, Bayesian Data Analysis, section 2.5).

    Args:
        ratios: What jobs took over what the model said, above zero.
        within: Deviation of the (natural) logarithms among jobs of one machine.
        between: Of machines: what is known without any job.

    Raises:
        ValueError: a ratio is not above zero.
    """
    count, known = len(ratios), between**2
    logs = [math.log(each) for each in ratios]
    share = count * known / (count * known + within**2)
    mean = share * fmean(logs) if logs else 0.0
    return Factor(mean, math.sqrt(within**2 + (1 - share) * known))
