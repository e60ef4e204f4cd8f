"""Where the CPU time of a search step goes, against what the core can do.

    python -m tests.benchmarks.bench_search_roofline [KEY of bench_search ...]

One thread. Per kind of kernel: calls, arithmetic, bytes read and written (as if no cache held
them), CPU seconds, and both rates beside those of a large matrix product and of a large copy.
Watching costs a few microseconds per call, which the last row has with everything that is no
kernel: Python, autograd, the optimisers' bookkeeping.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.benchmarks.bench_search import CASES, our_step, plain_network
from tests.unit.nas.plain_darts import pack

PRODUCTS = {"mm", "addmm", "bmm", "baddbmm"}
ROUNDS = 3


class Watch(TorchDispatchMode):
    """Counts and times kernels by kind."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.work: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self.seconds: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        started = time.process_time()
        result = func(*args, **(kwargs or {}))
        spent = time.process_time() - started
        if func.is_view:
            return result
        kind, work = _kind(func.overloadpacket.__name__, args, result)
        self.calls[kind] += 1
        self.work[kind] += work
        self.bytes[kind] += sum(t.nbytes for t in (*_tensors(args), *_tensors((result,))))
        self.seconds[kind] += spent
        return result


def _tensors(values: Any) -> list[Tensor]:
    found = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += _tensors(value)
    return found


def _kind(name: str, args: Any, result: Any) -> tuple[str, int]:
    """The kernel's kind and its floating-point operations, two per multiply-add."""
    if name == "convolution":
        weight, groups = args[1], args[8]
        return _convolution(weight, groups, ""), 2 * result.numel() * weight[0].numel()
    if name == "convolution_backward":
        gradient, _, weight = args[:3]
        once = 2 * gradient.numel() * weight[0].numel()
        of_kernels = ", kernel gradients" if args[10][1] and not args[10][0] else ""
        return _convolution(weight, args[9], of_kernels), once * sum(args[10][:2])
    if name.rstrip("_") in PRODUCTS:
        left = args[-2] if len(args) > 1 else args[0]
        return "pointwise and other products", 2 * result.numel() * left.shape[-1]
    if "batch_norm" in name:
        return "batch normalisation", 0
    if "pool" in name:
        return "pooling", 0
    return "element by element, copies", 0


def _convolution(weight: Tensor, groups: int, of_kernels: str) -> str:
    if weight.shape[2:] == (1, 1):
        return "pointwise and other products"
    if groups == len(weight):
        return "depthwise" + (of_kernels or ", forward and input gradients")
    return "stem, reductions, dense"


def peaks() -> tuple[float, float]:
    """Operations per second of a large product, bytes per second of a large copy."""
    square = torch.randn(2048, 2048)
    large = torch.randn(2**26)
    product = min(_spent(lambda: square @ square) for _ in range(5))
    copy = min(_spent(lambda: large.clone()) for _ in range(5))
    return 2 * 2048**3 / product, 2 * large.nbytes / copy


def _spent(work: Any) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def main() -> None:
    """Print a table per key."""
    torch.set_num_threads(1)
    most_work, most_bytes = peaks()
    print(f"large product: {most_work / 1e9:.0f} GFLOP/s; large copy: {most_bytes / 1e9:.0f} GB/s")
    for key in sys.argv[1:] or ["cpu.c16l8.first", "cpu.c8l5.first"]:
        case = CASES[key]
        step = our_step(pack(plain_network(case)), case)
        step()
        whole = min(_spent(step) for _ in range(ROUNDS))
        watch = Watch()
        with watch:
            step()
        print(f"\n{case}: {whole:.2f} s")
        print(f"{'':42}{'calls':>7}{'GFLOP':>8}{'GB':>7}{'s':>7}{'GFLOP/s':>9}{'GB/s':>7}")
        for kind, spent in watch.seconds.most_common():
            work, moved = watch.work[kind] / 1e9, watch.bytes[kind] / 1e9
            rate = f"{work / spent:9.0f}" if work else " " * 9
            print(
                f"{kind:42}{watch.calls[kind]:7}{work:8.1f}{moved:7.1f}{spent:7.2f}{rate}"
                f"{moved / spent:7.1f}"
            )
        print(f"{'no kernel':42}{'':22}{max(0.0, whole - watch.seconds.total()):7.2f}")


if __name__ == "__main__":
    main()
