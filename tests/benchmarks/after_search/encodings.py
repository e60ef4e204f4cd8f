"""Fewer bytes for a supernet in the registry: narrower numbers, few of them, or what changed.

Every encoding gives what would be read back, and how many bytes were written: weights and
statistics are encoded, alphas and counters stay as they are. Sparse ones store a bit for every
number and half precision for those that are kept, as magnitude says (Iofinova et al. 2022, arXiv
2111.13445); differences are to the supernet that a search began from (in the spirit of Delta
Networks, arXiv 2303.14772).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

State = Mapping[str, Tensor]
Encoded = tuple[Tensor, float]  # what is read back, and bytes


def whole(tensor: Tensor) -> Encoded:
    """As it is."""
    return tensor, float(tensor.numel() * tensor.element_size())


def bfloat16(tensor: Tensor) -> Encoded:
    """Eight bits of mantissa."""
    return tensor.bfloat16().float(), 2.0 * tensor.numel()


def int8(tensor: Tensor) -> Encoded:
    """Steps of a 127th of the greatest magnitude, of each slice along the first axis."""
    flat = tensor.flatten(1) if tensor.ndim > 1 else tensor[None]
    step = flat.abs().amax(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny) / 127
    told = ((flat / step).round() * step).reshape(tensor.shape)
    return told, float(tensor.numel() + 4 * len(step))


def sparse(tensor: Tensor, kept: float) -> Encoded:
    """The share `kept` of greatest magnitude, in half precision; zero elsewhere."""
    count = max(1, round(kept * tensor.numel()))
    bound = tensor.abs().flatten().topk(count).values[-1]
    told = torch.where(tensor.abs() >= bound, tensor.half().float(), torch.zeros_like(tensor))
    return told, tensor.numel() / 8 + 2.0 * count


ENCODINGS: Mapping[str, Callable[[Tensor], Encoded]] = {
    "float32": whole,
    "bfloat16": bfloat16,
    "int8": int8,
    "20 %": partial(sparse, kept=0.2),
    "10 %": partial(sparse, kept=0.1),
}
DIFFERENCES: Mapping[str, Callable[[Tensor], Encoded]] = {
    "difference, int8": int8,
    "difference, 10 %": partial(sparse, kept=0.1),
    "difference, none": lambda tensor: (torch.zeros_like(tensor), 0.0),
}


def stored(state: State, encode: Callable[[Tensor], Encoded]) -> tuple[dict[str, Tensor], float]:
    """A supernet as it is read back, and its bytes."""
    told, size = dict[str, Tensor](), 0.0
    for name, tensor in state.items():
        read, spent = encode(tensor) if _is_encoded(name, tensor) else whole(tensor)
        told[name], size = read, size + spent
    return told, size


def stored_difference(
    state: State, parent: State, encode: Callable[[Tensor], Encoded]
) -> tuple[dict[str, Tensor], float]:
    """As `stored`, of what differs from the parent, which is there."""
    told, size = dict[str, Tensor](), 0.0
    for name, tensor in state.items():
        if _is_encoded(name, tensor) and name in parent and parent[name].shape == tensor.shape:
            change, spent = encode(tensor - parent[name])
            told[name], size = parent[name] + change, size + spent
        else:
            told[name], spent = whole(tensor)
            size += spent
    return told, size


def _is_encoded(name: str, tensor: Tensor) -> bool:
    # Statistics are estimated again at every warm start, but variances must stay positive.
    numbers = tensor.is_floating_point() and tensor.ndim > 1
    return numbers and "alpha" not in name and not name.startswith("classifier.")
