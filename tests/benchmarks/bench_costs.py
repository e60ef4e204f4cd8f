"""How long epochs take and how much they keep, against `core.nas.cost_model`; ADR 0037 has a run.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.bench_costs

CPU seconds of one thread. The constants are fitted by least squares of relative errors.
"""

import time
from dataclasses import dataclass

import numpy as np
import torch

from core.domain.searches import HeadInit, Method, Training
from core.nas import cost_model, memory, methods, search
from core.nas.cost_model import Shape
from core.nas.images import LabelledImages
from core.nas.search import SearchState
from core.nas.space import Space, stem_stride_for
from core.nas.supernet import Supernet
from core.pipelines import bilevel
from core.services.specs import PARTIAL

# Channels, layers, nodes, side, cells, batch, images, classes.
GRID = [
    (2, 3, 2, 16, "darts", 16, 64, 3),
    (4, 3, 4, 12, "darts", 32, 400, 10),
    (8, 3, 4, 16, "darts", 64, 512, 10),
    (8, 4, 4, 16, "darts", 64, 512, 10),
    (8, 4, 4, 32, "darts", 64, 256, 10),
    (16, 4, 4, 32, "darts", 32, 128, 10),
    (4, 5, 2, 24, "darts", 32, 256, 5),
    (8, 4, 4, 16, "nas-bench-201", 64, 512, 10),
    (16, 5, 4, 16, "nas-bench-201", 32, 256, 10),
    (8, 4, 4, 16, "s2", 64, 512, 10),
    (8, 4, 4, 24, "s3", 32, 256, 4),
    (4, 3, 3, 64, "darts", 16, 64, 4),
    (16, 8, 4, 16, "darts", 32, 128, 10),
    (8, 6, 3, 28, "darts", 16, 128, 10),
    (4, 4, 2, 20, "darts", 8, 200, 20),
    (32, 4, 4, 16, "darts", 32, 128, 10),
]


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds of an epoch and of the start, and entries that autograd keeps of an image."""

    shape: Shape
    epoch: float
    start: float
    kept: float


def measure(shape: Shape) -> Measured:
    """Two epochs of a search on noise."""
    generator = torch.Generator().manual_seed(0)
    side, half = shape.resolution, shape.images // 2
    images = torch.randint(0, 255, (half, 3, side, side), generator=generator, dtype=torch.uint8)
    labels = torch.arange(half) % shape.classes
    noise = LabelledImages(images, labels, shape.classes, torch.full((3,), 0.5), torch.ones(3))
    method = Method(shape.method)
    training = Training(epochs=2, batch_size=shape.batch_size, method=method, guard=False)
    config = bilevel.configure(training, 0.1, head=HeadInit.EVERY_EPOCH)
    net = Supernet(shape.space, shape.classes, generator)
    seconds, began = [], time.process_time()
    for _ in search.run(SearchState(net, methods.create(shape.method, net)), noise, noise, config):
        seconds.append(time.process_time() - began)
        began = time.process_time()
    two, four = (_kept(net, side, count) for count in (2, 4))
    return Measured(shape, sum(seconds[1:]) / 2, seconds[0], (four - two) / 2 / cost_model.FLOAT)


def _kept(net: Supernet, side: int, count: int) -> int:
    return memory.saved_bytes(lambda: memory._loss(net, (3, side, side), count))


def shapes() -> list[Shape]:
    """The grid, and every method on one of its points."""
    found = [
        Shape(Space(channels=c, layers=deep, nodes=n, cells=cells, stem_stride=stem_stride_for(s)),
              s, classes, images, batch)
        for c, deep, n, s, cells, batch, images, classes in GRID
    ]  # fmt: skip
    for name in methods.METHODS:
        partial = PARTIAL if name == Method.PC_DARTS else 1
        space = Space(channels=8, layers=4, nodes=4, partial=partial)
        found.append(Shape(space, 16, 10, 256, 64, method=name))
    return found


def main() -> None:
    """Print a line for each, then the constants."""
    torch.set_num_threads(1)
    found = []
    for shape in shapes():
        found.append(one := measure(shape))
        kept = one.kept / shape.work.numbers
        ratio = one.epoch / shape.epoch()
        print(f"{shape.space} {shape.resolution} x{shape.batch_size} {shape.method}: "
              f"{one.epoch:.2f} s, x{ratio:.2f} of the model; start {one.start / one.epoch:.2f}; "
              f"keeps {kept:.2f}", flush=True)  # fmt: skip
    plain = found[: len(GRID)]
    counted = [(each.shape, each.shape.work) for each in plain]
    rows = np.array([[of.steps * w.kernels, of.images * w.numbers] for of, w in counted], float)
    took = np.array([each.epoch for each in plain])
    fitted, *_ = np.linalg.lstsq(rows / took[:, None], np.ones(len(took)), rcond=None)
    error = np.log(took / (rows @ fitted)).std(ddof=2)
    print(f"{fitted[0]:.3g} s a kernel, {fitted[1]:.3g} s a number; deviation {error:.2f}")


if __name__ == "__main__":
    main()
