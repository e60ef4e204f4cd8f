"""Selection by perturbation (DARTS-PT, Wang et al. 2021, arXiv 2108.04392): what is missed most.

An operation is worth what the supernet loses without it, which its alpha need not tell.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.nas.derive import strongest
from core.nas.genotype import Genotype
from core.nas.images import LabelledImages, epoch_generator
from core.nas.loop import TrainingConfig, TrainingState, run_epochs
from core.nas.normalisation import ScaledBatchNorm
from core.nas.scores import Meter, Score
from core.nas.selection.variation import choices
from core.nas.space import Space
from core.nas.supernet import Supernet

# Streams of `epoch_generator`, apart from those of `core.nas.loop`.
_ORDER, _IMAGES = 20, 21
_NO_SHARE = -1e4  # a beta whose softmax is zero, yet whose products are finite


@dataclass(frozen=True, slots=True)
class Decision:
    """One step of a selection by perturbation.

    Args:
        kind: Of the cell.
        node: Index of the node that the edge leads into.
        source: State that the edge leaves.
        operation: What the edge keeps; None: the edge is dropped.
        accuracy: Of the supernet without that operation, or without that edge, in 0..1.
        loss: Likewise, mean cross-entropy in nats.
    """

    kind: str
    node: int
    source: int
    operation: str | None
    accuracy: float
    loss: float


def decisions(space: Space) -> int:
    """How many decisions a selection by perturbation takes."""
    kept = space.cell.kept
    dropped = 0 if kept is None else space.edges - kept * space.nodes
    return len(space.kinds) * (space.edges + dropped)


def perturb(
    supernet: Supernet,
    valid: LabelledImages,
    *,
    seed: int,
    batch_size: int = 256,
    images: int = 1024,
    tuning: tuple[LabelledImages, TrainingConfig] | None = None,
    decided: Sequence[Decision] = (),
) -> Iterator[Decision]:
    """Decide edge by edge by what the supernet loses (Wang et al. 2021, algorithm 1).

    Edges come in random order. On each, every operation in turn is masked, the others keeping
    their weights; the one without which accuracy is lowest is kept alone (ties: higher
    loss, then the earlier operation). Then every node, in random order, drops the in-edge whose
    removal hurts least until it has as many as its cell space keeps; each removal is measured
    with the earlier ones in force. The operation ``none`` can be kept only where a space keeps
    all edges.

    Measured on a copy, with the statistics of the batch, without gradients. The cost is a
    forward pass over the images for every undecided operation and edge: for the DARTS space of
    four nodes 240 passes.

    Args:
        supernet: Trained; unchanged. Its own relaxation gives the weights.
        valid: Validation half, on the supernet's device.
        seed: Decides orders and the sample of images.
        batch_size: Images per forward pass; larger batches have steadier statistics.
        images: Validation images to measure on, at most.
        tuning: Training half and settings of the descent: after every decision the copy's weights
            train for one epoch, the cosine running over all of them (`epochs` is ignored; Wang et
            al. take a tenth of the search's rate). Alphas rest. None: no tuning.
        decided: Decisions of an interrupted run with the same arguments, to go on from.

    Yields:
        A decision at a time, `decisions(space)` in all with those given.

    Raises:
        ValueError: no images, decisions of another run, or decisions to go on from with tuning,
            whose weights are gone.
    """
    if not len(valid) or images < 1:
        raise ValueError("valid: no images to measure on")
    if decided and tuning is not None:
        raise ValueError("decided: a tuned selection cannot go on; start it anew")
    trial = _Trial(supernet, valid.sample(images, epoch_generator(seed, 0, _IMAGES)), batch_size)
    epochs = iter(()) if tuning is None else _tuned(trial.supernet, *tuning, valid=valid)
    next(epochs, None)  # only measures the start
    for turn, (kind, node, source) in enumerate(_order(supernet.space, seed)):
        if turn < len(decided):
            _check(decided[turn], kind, node, source)
            trial.apply(decided[turn])
            continue
        decision = trial.drop(kind, node) if source is None else trial.keep(kind, node, source)
        trial.apply(decision)
        next(epochs, None)
        yield decision


def decided_genotype(space: Space, made: Sequence[Decision]) -> Genotype:
    """The genotype that all decisions of a selection add up to.

    Raises:
        ValueError: not as many decisions as the space needs.
    """
    if len(made) != decisions(space):
        raise ValueError(f"decisions: {len(made)} of {decisions(space)} are made")
    weights = {kind: torch.zeros(space.edges, len(space.operations)) for kind in space.kinds}
    for decision in made:
        row = weights[decision.kind][space.edge(decision.node, decision.source)]
        row.zero_()
        if decision.operation is not None:
            row[space.operations.index(decision.operation)] = 1.0
    return strongest(space, weights)


class _Trial:
    """A copy of the supernet whose edges are decided one after another."""

    def __init__(self, supernet: Supernet, images: LabelledImages, batch_size: int) -> None:
        # The relaxation may be bound to a method of search, which is not copied along.
        self.relaxation = supernet.relaxation
        memo = {id(self.relaxation): self.relaxation}
        self.supernet = copy.deepcopy(supernet, memo).train()
        self.images, self.batch_size = images, batch_size
        for layer in self.supernet.modules():
            if isinstance(layer, ScaledBatchNorm | nn.BatchNorm2d):
                layer.momentum = 0.0  # trials leave no trace in the running statistics
        # Rows of the mixtures that are no longer the softmax's: ``[O]`` by (kind, edge).
        self.fixed: dict[tuple[str, int], Tensor] = {}
        self.supernet.relaxation = self._relaxed
        self.columns = [supernet.space.operations.index(n) for n in choices(supernet.space.cell)]

    def keep(self, kind: str, node: int, source: int) -> Decision:
        """Which operation the edge keeps."""
        space = self.supernet.space
        edge = space.edge(node, source)
        row = self.relaxation(kind, self.supernet.alphas()[kind].detach())[edge]
        found = []
        for column in self.columns:
            without = row.clone()
            without[column] = 0.0
            self.fixed[kind, edge] = without
            score = self._score()
            found.append((score.accuracy, -score.loss, column))
        accuracy, loss, column = min(found)
        return Decision(kind, node, source, space.operations[column], accuracy, -loss)

    def drop(self, kind: str, node: int) -> Decision:
        """Which in-edge the node can best do without."""
        space, found = self.supernet.space, []
        for source in range(space.sources(node)):
            edge = space.edge(node, source)
            if self.fixed[kind, edge].any():  # not dropped yet
                with self._without(kind, edge):
                    score = self._score()
                found.append((score.accuracy, -score.loss, -source))
        accuracy, loss, source = max(found)
        return Decision(kind, node, -source, None, accuracy, -loss)

    def apply(self, decision: Decision) -> None:
        """Put a decision in force."""
        space = self.supernet.space
        edge = space.edge(decision.node, decision.source)
        if decision.operation is None:
            self._remove(decision.kind, edge)
            return
        alphas = self.supernet.alphas()[decision.kind]
        one_hot = torch.zeros_like(alphas[edge], requires_grad=False)
        one_hot[space.operations.index(decision.operation)] = 1.0
        self.fixed[decision.kind, edge] = one_hot

    @torch.no_grad()
    def _remove(self, kind: str, edge: int) -> None:
        self.fixed[kind, edge] = torch.zeros_like(self.fixed[kind, edge])
        if kind in self.supernet.betas():  # the channels that pass by go too
            self.supernet.betas()[kind][edge] = _NO_SHARE

    @contextlib.contextmanager
    def _without(self, kind: str, edge: int) -> Iterator[None]:
        row, betas = self.fixed[kind, edge], self.supernet.betas().get(kind)
        beta = None if betas is None else betas.detach()[edge].clone()
        self._remove(kind, edge)
        yield
        self.fixed[kind, edge] = row
        if betas is not None and beta is not None:
            betas.detach()[edge] = beta

    def _relaxed(self, kind: str, alphas: Tensor) -> Tensor:
        weights = self.relaxation(kind, alphas)
        rows = [self.fixed.get((kind, edge), row) for edge, row in enumerate(weights)]
        return torch.stack(rows)

    @torch.no_grad()
    def _score(self) -> Score:
        meter = Meter()
        self.supernet.train()
        for images, labels in self.images.batches(self.batch_size):
            logits = self.supernet(images)
            meter.add(F.cross_entropy(logits, labels), logits, labels)
        return meter.score()


def _check(made: Decision, kind: str, node: int, source: int | None) -> None:
    expected = kind, node, made.source if source is None else source
    found = made.kind, made.node, made.source
    if found != expected or (made.operation is None) != (source is None):
        raise ValueError(f"decided: {found} where this run decides {expected}; start it anew")


def _order(space: Space, seed: int) -> Iterable[tuple[str, int, int | None]]:
    """(kind, node, source) of every edge to decide, then (kind, node, None) per edge to drop."""
    generator = epoch_generator(seed, 0, _ORDER)
    edges = [
        (kind, node, source)
        for kind in space.kinds
        for node in range(space.nodes)
        for source in range(space.sources(node))
    ]
    for at in torch.randperm(len(edges), generator=generator).tolist():
        yield edges[at]
    if space.cell.kept is None:
        return
    nodes = [(kind, node) for kind in space.kinds for node in range(space.nodes)]
    for at in torch.randperm(len(nodes), generator=generator).tolist():
        kind, node = nodes[at]
        for _ in range(space.sources(node) - space.cell.kept):
            yield kind, node, None


def _tuned(
    copied: Supernet, train: LabelledImages, config: TrainingConfig, *, valid: LabelledImages
) -> Iterator[object]:
    state = TrainingState(copied, copied.weight_parameters())
    config = replace(config, epochs=decisions(copied.space))
    return run_epochs(state, train, valid, config)
