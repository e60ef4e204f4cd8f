"""How steps are computed: in which precision, and whether they repeat to the bit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal, get_args

import torch
from torch import Tensor

Precision = Literal["fp32", "bf16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


def named(name: str) -> Precision:
    """The precision of that name.

    Raises:
        ValueError: there is none.
    """
    for precision in PRECISIONS:
        if precision == name:
            return precision
    raise ValueError(f"precision: {name!r} is not one of {', '.join(PRECISIONS)}")


def require(precision: Precision, device: torch.device) -> None:
    """Refuse a precision that `device` does not have, before a run begins.

    Any CPU computes bf16 rightly, but not faster: a derived network's step took 1.25 to 1.5 times
    as long as in fp32 on one core that has the instructions. It is meant for GPUs.

    Raises:
        ValueError: an unknown precision, or one that the device cannot compute with.
    """
    if named(precision) == "fp32" or device.type == "cpu":
        return
    if device.type != "cuda" or not torch.cuda.is_bf16_supported(including_emulation=False):
        raise ValueError(
            f"precision: {device} cannot compute with bf16; use fp32, or a GPU of compute "
            "capability 8.0 or later"
        )


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """The context for forward passes in `precision` (Micikevicius et al. 2018, without scaling).

    With ``bf16`` convolutions and matrix products read bf16 copies of images and weights. Weights,
    their gradients and moments, and the sums, means and variances of batch normalisation stay in
    fp32; so do softmax and cross-entropy. bf16 has fp32's range: losses need no scaling. The
    backward pass belongs outside of the context.
    """
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def widened(logits: Tensor) -> Tensor:
    """bf16 as fp32, anything else as it is."""
    return logits.float() if logits.dtype == torch.bfloat16 else logits


@contextmanager
def deterministic(wanted: bool = True) -> Iterator[None]:
    """Within it, an operation that may give other bits on the same input raises RuntimeError.

    Together with seeds that makes two runs on one machine equal to the bit. CPUs compute so with
    a fixed number of threads anyway. On GPUs cuDNN is kept from choosing kernels by their time,
    and the environment variable ``CUBLAS_WORKSPACE_CONFIG=:4096:8`` must be set before the
    process's first matrix product: torch says so when it is missing. The setting is the whole
    process's, and is put back.

    Args:
        wanted: False changes nothing.
    """
    if not wanted:
        yield
        return
    strict = torch.are_deterministic_algorithms_enabled()
    lenient = torch.is_deterministic_algorithms_warn_only_enabled()
    tuned = torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True, warn_only=False)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(strict, warn_only=lenient)
        torch.backends.cudnn.benchmark = tuned
