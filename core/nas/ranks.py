"""One training on several processes: each takes its share of every batch, gradients are averaged.

Every process holds everything and draws the same shuffles. What differs between them while an
epoch runs are batch statistics, each of its own share, as in `DistributedDataParallel`; measuring
re-estimates the running ones from the same images, so that between epochs all are equal again.
The unrolled step of a second-order method is each process's own.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as distributed
from torch import Tensor

Gradients = Sequence[Tensor | None]


class TooFewImages(ValueError):
    """A batch that cannot be shared out: every process needs two images for its statistics."""


class Ranks:
    """The processes of one training; this base is a single one, which shares with nobody.

    Attributes:
        rank: This process, from 0; only the first one reports and keeps checkpoints.
        size: How many there are.
    """

    rank = 0
    size = 1

    def share(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """This process's part of a batch: every `size`-th image, beginning with its rank.

        Raises:
            TooFewImages: fewer than two images a process, which have no batch statistics.
        """
        if self.size == 1:
            return images, labels
        if len(images) < 2 * self.size:
            raise TooFewImages(
                f"batch_size: {len(images)} images for {self.size} processes; "
                f"give at least {2 * self.size}"
            )
        return images[self.rank :: self.size], labels[self.rank :: self.size]

    def average(
        self,
        gradients: Gradients,
        share: int,  # noqa: ARG002  (a single process has the whole)
        whole: int,  # noqa: ARG002
    ) -> Gradients:
        """Gradients of the mean loss over a batch, from those over this process's share of it.

        Args:
            gradients: Of this process, the same ones missing in all.
            share: Images of this process.
            whole: Images of the batch.
        """
        return gradients

    def total(self, values: Tensor) -> Tensor:
        """The sum of `values` over all processes."""
        return values

    def least(self, values: Tensor) -> Tensor:
        """The smallest of `values` over all processes, each by itself."""
        return values

    def of_first(self, values: Tensor) -> Tensor:
        """The first process's `values`; the others, of the same shape and type, wait for it."""
        return values

    def agree(self, what: str, values: Tensor) -> None:
        """Make sure that all processes hold the same values, to the bit.

        Raises:
            RuntimeError: they do not: going on would search in several directions at once.
        """


class ProcessGroup(Ranks):
    """The processes of `torch.distributed`'s default group, whoever has started them."""

    def __init__(self) -> None:
        """Reads rank and size.

        Raises:
            RuntimeError: the default group has not been initialised.
        """
        if not distributed.is_initialized():
            raise RuntimeError("torch.distributed: initialise the process group first")
        self.rank, self.size = distributed.get_rank(), distributed.get_world_size()

    def average(self, gradients: Gradients, share: int, whole: int) -> Gradients:
        """One reduction of all gradients side by side."""
        present = [each for each in gradients if each is not None]
        flat = torch.cat([each.flatten() for each in present]) * (share / whole)
        distributed.all_reduce(flat)
        parts = iter(torch.split(flat, [each.numel() for each in present]))
        return [each if each is None else next(parts).view_as(each) for each in gradients]

    def total(self, values: Tensor) -> Tensor:
        """One reduction."""
        summed = values.clone()
        distributed.all_reduce(summed)
        return summed

    def least(self, values: Tensor) -> Tensor:
        """One reduction."""
        found = values.clone()
        distributed.all_reduce(found, op=distributed.ReduceOp.MIN)
        return found

    def of_first(self, values: Tensor) -> Tensor:
        """One broadcast."""
        found = values.clone()
        distributed.broadcast(found, src=0)
        return found

    def agree(self, what: str, values: Tensor) -> None:
        """Compares with the extremes over all processes."""
        low, high = values.detach().clone(), values.detach().clone()
        distributed.all_reduce(low, op=distributed.ReduceOp.MIN)
        distributed.all_reduce(high, op=distributed.ReduceOp.MAX)
        if not torch.equal(low, high):
            raise RuntimeError(f"{what}: the processes of this search no longer agree")


ALONE = Ranks()
