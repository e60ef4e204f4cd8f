"""When a search has nothing more to gain: no better validation accuracy, beyond noise."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class Patience:
    """How long ago a search last became better, its memory part of the search's checkpoint.

    Early stopping as in Prechelt 1998 ("Early stopping, but when?", criterion UP), with the noise
    of a finite validation half taken into account: accuracy counts as better when it exceeds the
    one that last did by more than its binomial standard error. Slow progress counts as soon as it
    adds up to that much.
    """

    def __init__(self) -> None:
        self.mark = torch.full((), -1.0, dtype=torch.float64)  # accuracy that last counted
        self.waited, self.over = (torch.zeros((), dtype=torch.int64) for _ in range(2))

    def tensors(self) -> dict[str, Tensor]:
        """The memory, live."""
        return {"mark": self.mark, "waited": self.waited, "over": self.over}

    @property
    def stopped(self) -> bool:
        """Whether the search was ended."""
        return bool(self.over)

    def look(self, accuracy: float, images: int, *, epochs: int) -> str | None:
        """Remember an epoch's (or the start's) accuracy.

        Args:
            accuracy: On the validation half, in 0..1.
            images: Of that half.
            epochs: As many in a row without progress end the search; 0 never does.

        Returns:
            Why the search ends here; None if it goes on.
        """
        mark = float(self.mark)
        if mark < 0 or accuracy > mark + math.sqrt(mark * (1 - mark) / images):
            self.mark.fill_(accuracy)
            self.waited.zero_()
            return None
        self.waited += 1
        if not epochs or int(self.waited) < epochs:
            return None
        self.over.fill_(1)
        return f"converged: no better validation accuracy for {int(self.waited)} epochs"
