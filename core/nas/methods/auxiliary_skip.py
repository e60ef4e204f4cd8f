"""DARTS-: an auxiliary skip connection on every edge, that fades."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from core.nas.loop import TrainingConfig
from core.nas.methods.base import Method
from core.nas.supernet import Supernet, softmax

Decay = Literal["linear", "cosine"]
_DECAYS: tuple[Decay, ...] = ("linear", "cosine")


class AuxiliarySkip(Method):
    """DARTS- (Chu et al. 2021, arXiv 2009.01027, section 3).

    Every edge has a second skip connection, of a weight that no alpha decides:

        ``f(x) = beta(t) x + sum_o softmax(alpha)_o o(x)``

    It is what makes a deep network trainable, so that the candidate skip competes by what it
    computes and not by how it helps the others learn. beta falls from 1 in the first epoch to 0
    in the last, linearly as in the paper's experiments, or by a cosine; derivation never sees it.

    Being the same function, it is added to the skip's weight. Where the cell halves the maps the
    skip is a factorised reduction, and the auxiliary one shares its weights.

    Args:
        supernet: See `Method`.
        decay: ``linear`` or ``cosine``.

    Raises:
        ValueError: another decay, or a space without skip connections.
    """

    name = "darts-minus"

    def __init__(self, supernet: Supernet, *, decay: Decay = "linear") -> None:
        super().__init__(supernet)
        operations = supernet.space.operations
        if "skip_connect" not in operations:
            raise ValueError(f"darts-minus: no skip_connect among {', '.join(operations)}")
        if decay not in _DECAYS:
            raise ValueError(f"darts-minus: decay {decay!r} is not in {', '.join(_DECAYS)}")
        self.decay, self.beta = decay, 1.0
        self.column = operations.index("skip_connect")

    def begin(self, epoch: int, config: TrainingConfig) -> None:
        """As `Method.begin`; beta of the epoch."""
        super().begin(epoch, config)
        share = epoch / (config.epochs - 1) if config.epochs > 1 else 1.0
        self.beta = 1 - share if self.decay == "linear" else (1 + math.cos(math.pi * share)) / 2

    def relax(self, kind: str, alphas: Tensor) -> Tensor:
        """The softmax, and beta more for the skip."""
        more = torch.zeros(alphas.shape[-1], dtype=alphas.dtype, device=alphas.device)
        more[self.column] = self.beta
        return softmax(kind, alphas) + more
