"""Latency measured where it matters: a table of operations on a device, and the exported model."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from core.nas.objectives import CostTable, tabulate
from core.nas.space import Space

_WARM_UP = 3  # the first calls of a shape choose and build its kernels
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds of one call, over several runs.

    Args:
        median: Half of the runs took less.
        low: A quarter took less.
        high: A quarter took more.
        runs: How many.
    """

    median: float
    low: float
    high: float
    runs: int


def latency_costs(
    space: Space,
    resolution: int,
    classes: int,
    *,
    batch_size: int = 1,
    device: str = "cpu",
    runs: int = 20,
    clock: Clock = time.perf_counter,
) -> CostTable:
    """Seconds of every operation in evaluation mode on this machine, to be summed per genotype.

    As the latency table of ProxylessNAS (Cai et al. 2019, arXiv 1812.00332, appendix B). Sums of
    separate measurements: what overlaps, or is fused, takes less in the whole network. Kept under
    `conditions`, it need not be measured again.

    Args:
        space: Width and depth of the networks.
        resolution: Side of the images in pixels.
        classes: Of the head.
        batch_size: Images per call.
        device: Where to measure.
        runs: Calls per operation, of which the median counts.
        clock: Seconds.

    Raises:
        ValueError: no runs.
    """

    def seconds(module: nn.Module, maps: Tensor) -> float:
        return measure(partial(_forward, module, maps), runs=runs, clock=clock).median

    return tabulate(
        space,
        resolution,
        classes,
        seconds,
        batch_size=batch_size,
        convolutions="auto",
        device=device,
    )


def conditions(space: Space, resolution: int, *, batch_size: int = 1, device: str = "cpu") -> str:
    """What a measured table depends on, as canonical JSON: the key to keep it under.

    Names the device, the threads and the version of torch beside the sizes.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    values = {
        "batch_size": batch_size,
        "device": f"{kind} {name}",
        "resolution": resolution,
        "space": space.to_dict(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    return json.dumps(values, separators=(",", ":"), sort_keys=True)


def onnx_latency(
    exported: bytes,
    *,
    batch_size: int = 1,
    runs: int = 50,
    threads: int = 1,
    clock: Clock = time.perf_counter,
) -> Latency:
    """Seconds that ONNX Runtime takes for a batch on the CPU.

    Args:
        exported: What `core.nas.export.onnx_bytes` returned.
        batch_size: Images per call.
        runs: Calls that count, after a few that do not.
        threads: Of ONNX Runtime.
        clock: Seconds.

    Raises:
        ValueError: no runs, threads or images.
    """
    if min(batch_size, threads) < 1:
        raise ValueError(f"latency: a batch of {batch_size} on {threads} threads")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(
        exported, sess_options=options, providers=["CPUExecutionProvider"]
    )
    (given,) = session.get_inputs()
    images = np.full((batch_size, *given.shape[1:]), 0.5, dtype=np.float32)
    return measure(lambda: session.run(None, {given.name: images}), runs=runs, clock=clock)


def measure(call: Callable[[], object], *, runs: int, clock: Clock = time.perf_counter) -> Latency:
    """Time `call`, after a few calls that do not count.

    Raises:
        ValueError: no runs.
    """
    if runs < 1:
        raise ValueError(f"runs: {runs} is not positive")
    for _ in range(_WARM_UP):
        call()
    times = []
    for _ in range(runs):
        began = clock()
        call()
        times.append(clock() - began)
    low, median, high = np.percentile(times, [25, 50, 75]).tolist()
    return Latency(median=median, low=low, high=high, runs=runs)


@torch.no_grad()
def _forward(module: nn.Module, maps: Tensor) -> None:
    module(maps)
    if maps.is_cuda:
        torch.cuda.synchronize(maps.device)
