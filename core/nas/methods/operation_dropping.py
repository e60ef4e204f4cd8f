"""Dropping operations round by round, by what they were measured to be worth."""

from __future__ import annotations

import torch
from torch import Tensor

from core.nas.images import LabelledImages
from core.nas.loop import TrainingConfig
from core.nas.methods.base import Batch, Method
from core.nas.normalisation import statistics_kept
from core.nas.space import Space
from core.nas.supernet import Supernet


class OperationDropping(Method):
    """Operations dropped by measured performance (BNAS, Chen et al. 2020, arXiv 1911.10862).

    Weights and alphas are trained as in DARTS, over the operations that are left. From time to
    time, often enough that one operation per edge is left for the last epochs, the shared weights
    are measured: cells with a single operation on every edge, drawn without replacement so that
    every operation of every edge is in one cell of a sweep, answer a batch of the validation
    half. An operation's q is the mean accuracy of the cells that had it; on every edge the one of
    the lowest upper confidence bound is dropped,

        ``s = q + sqrt(2 ln N / n)``

    with n cells that had the operation and N cells in all (Auer et al. 2002, as in arXiv
    2009.04247). Where all were measured as often as each other, q decides.

    What is dropped weighs nothing and has no gradient; in the softmax's denominator it stays with
    an alpha of 0, where alphas begin, so that an edge's last operation still has a weight that
    says how much the edge is wanted. ``none`` is never the last operation of an edge that
    derivation has to give one, nor where it would cut the cell's output off its input.

    The paper's binarised convolutions and its channel sampling are not part of the method here;
    the latter is the space's `partial`.

    Args:
        supernet: See `Method`.
        sweeps: Times that every operation is measured before one is dropped; the noise is what
            the other edges happened to have.

    Raises:
        ValueError: `sweeps` is not positive.
    """

    name = "op-dropping"

    def __init__(self, supernet: Supernet, *, sweeps: int = 16) -> None:
        super().__init__(supernet)
        if sweeps < 1:
            raise ValueError(f"op-dropping: {sweeps} sweeps measure nothing")
        self.sweeps, self.epoch = sweeps, 0
        self.live = {
            kind: torch.ones_like(alphas, dtype=torch.bool, requires_grad=False)
            for kind, alphas in supernet.alphas().items()
        }

    def tensors(self) -> dict[str, Tensor]:
        """The operations that are left, ``[edges, O]`` by kind of cell."""
        return {f"live.{kind}": live for kind, live in self.live.items()}

    def begin(self, epoch: int, config: TrainingConfig) -> None:
        """As `Method.begin`."""
        super().begin(epoch, config)
        self.epoch = epoch

    def preference(self, kind: str, alphas: Tensor) -> Tensor:
        """The softmax, 0 for what was dropped: rows sum to less than 1 then."""
        live = self.live[kind]
        return super().preference(kind, alphas.masked_fill(~live, 0.0)) * live

    def relax(self, kind: str, alphas: Tensor) -> Tensor:
        """As `preference`."""
        return self.preference(kind, alphas)

    def finish(self, valid: LabelledImages, config: TrainingConfig) -> None:
        """Drop as many operations per edge as are due after this epoch."""
        operations = len(self.supernet.space.operations)
        due = min(operations - 1, (self.epoch + 1) * operations // config.epochs)
        while operations - due < max(self._left()):
            scores = self._measured(valid, config)
            for kind, live in self.live.items():
                drop(live, scores[kind], self.supernet.space)

    def _left(self) -> list[int]:
        return [count for live in self.live.values() for count in live.sum(dim=-1).tolist()]

    @torch.no_grad()
    def _measured(self, valid: LabelledImages, config: TrainingConfig) -> dict[str, Tensor]:
        cells = self.sweeps * max(self._left())
        hits = {
            kind: torch.zeros(live.shape, dtype=torch.float64) for kind, live in self.live.items()
        }
        counts = {kind: torch.zeros_like(value) for kind, value in hits.items()}
        generator = torch.Generator().manual_seed(self.generator.initial_seed())
        orders = {kind: _orders(live.cpu(), cells, generator) for kind, live in self.live.items()}
        for cell in range(cells):
            images = valid.sample(config.batch_size, generator)
            chosen = {kind: order[:, cell] for kind, order in orders.items()}
            accuracy = self._accuracy(next(images.batches(config.batch_size)), chosen)
            for kind, columns in chosen.items():
                rows = torch.arange(len(columns))
                hits[kind][rows, columns] += accuracy
                counts[kind][rows, columns] += 1
        return {kind: bound(hits[kind], counts[kind]) for kind in hits}

    def _accuracy(self, batch: Batch, chosen: dict[str, Tensor]) -> float:
        images, labels = batch
        supernet, relaxation = self.supernet, self.supernet.relaxation

        def single(kind: str, alphas: Tensor) -> Tensor:
            weights = torch.zeros_like(alphas)
            return weights.scatter_(1, chosen[kind][:, None].to(alphas.device), 1.0)

        training = supernet.training
        supernet.relaxation = single
        try:
            # Running statistics are those of the mixture; a single operation has its batch's.
            with statistics_kept(supernet):
                answers = supernet.train()(images).argmax(dim=1)
        finally:
            supernet.relaxation = relaxation
            supernet.train(training)
        return float((answers == labels).double().mean())


def bound(sums: Tensor, counts: Tensor) -> Tensor:
    """Upper confidence bounds ``[edges, O]`` of means in 0..1; without a trial there is none.

    Args:
        sums: ``[edges, O]`` of what the trials gave.
        counts: ``[edges, O]``, trials.
    """
    total = counts.sum(dim=-1, keepdim=True).clamp_min(1)
    return sums / counts + (2 * total.log() / counts).sqrt()


def drop(live: Tensor, scores: Tensor, space: Space) -> None:
    """Drop, in place, the operation of the lowest score on every edge that has more than one.

    Args:
        live: ``[edges, O]`` bool.
        scores: ``[edges, O]``; those of live operations are read.
        space: Says what `none` may cut.
    """
    none = space.operations.index("none") if "none" in space.operations else None
    for edge in range(len(live)):
        if live[edge].sum() == 1:
            continue
        lowest = torch.where(live[edge].cpu(), scores[edge], torch.inf).argmin()
        live[edge, lowest] = False
        if none is not None and not _passable(live, none, space):
            live[edge, lowest], live[edge, none] = True, False


def _passable(live: Tensor, none: int, space: Space) -> bool:
    """Whether derivation finds an operation where it needs one, and the input the output."""
    edges = (live.sum(dim=-1) > live[:, none].long()).tolist()
    if space.cell.kept is not None:
        return all(edges)
    reached = [True] * space.cell.inputs
    for node in range(space.nodes):
        sources = range(space.sources(node))
        reached.append(any(reached[s] and edges[space.edge(node, s)] for s in sources))
    return reached[-1]


def _orders(live: Tensor, cells: int, generator: torch.Generator) -> Tensor:
    """``[edges, cells]``: every edge's live columns in random order, again and again."""
    rows = []
    for row in live:
        columns = row.nonzero().flatten()
        sweeps = -(-cells // len(columns))
        orders = [
            columns[torch.randperm(len(columns), generator=generator)] for _ in range(sweeps)
        ]
        rows.append(torch.cat(orders)[:cells])
    return torch.stack(rows)
