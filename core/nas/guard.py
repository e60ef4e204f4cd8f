"""Watching a search for collapse: skip connections, entropy, curvature; and when to end it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from core.nas.curvature import flat, largest_eigenvalue, unflat
from core.nas.derive import derive, mean_entropy
from core.nas.genotype import Genotype
from core.nas.guard_config import DECIDED, LAG, WINDOW, GuardConfig
from core.nas.images import LabelledImages, epoch_generator
from core.nas.methods.base import Method
from core.nas.normalisation import statistics_kept
from core.nas.space import CELL_SPACES

_STREAM = 17  # of `epoch_generator`, apart from the loop's and the methods' own


@dataclass(frozen=True, slots=True)
class Sight:
    """What the guard saw after an epoch.

    Args:
        eigenvalue: Largest eigenvalue of the validation loss's Hessian for the architecture
            parameters; None in epochs that did not measure it.
        decided_skips: Skip connections in the derived normal cell that weigh clearly more than
            their edges' next best operation.
        stopped: Why the search ends here, beginning with ``collapsed:`` or ``converged:``; None
            if it goes on.
    """

    eigenvalue: float | None
    decided_skips: int
    stopped: str | None


class Guard:
    """The guard of one search, its memory part of the search's checkpoint.

    Epochs in which the alphas rest are not looked at.

    Args:
        method: The search's.
    """

    def __init__(self, method: Method) -> None:
        self.method = method
        values = flat(method.supernet.alpha_parameters())
        self.eigenvalues = torch.zeros(WINDOW + LAG, dtype=torch.float64)  # newest last
        self.history = values.repeat(LAG + 1, 1)  # of the architecture parameters, newest last
        self.derived = torch.full_like(_code(derive(method.supernet, method.preference)), -1)
        self.seen, self.measured, self.crowded, self.stable, self.over = (
            torch.zeros((), dtype=torch.int64) for _ in range(5)
        )

    def tensors(self) -> dict[str, Tensor]:
        """The memory, live."""
        names = "eigenvalues", "history", "derived"
        counts = "seen", "measured", "crowded", "stable", "over"
        return {name: getattr(self, name) for name in (*names, *counts)}

    @property
    def stopped(self) -> bool:
        """Whether the search was ended."""
        return bool(self.over)

    def look(
        self, valid: LabelledImages, config: GuardConfig, *, seed: int, solved: bool = False
    ) -> Sight:
        """Look at the supernet as an epoch left it, and remember.

        Where that is a collapse, the architecture parameters are set back to what they were
        before it: five epochs ago if the curvature grew, before the first epoch of the row if
        skip connections took over. What is derived then is the last healthy architecture (R-DARTS,
        Zela et al. 2020, section 4.3). The operations' weights stay.

        Args:
            valid: Validation half.
            config: Settings; the same for a resumed run.
            seed: Of the run: chooses the images of the eigenvalue.
            solved: Whether the head is solved anew every epoch. Its sharpness is then set each
                time by a temperature that says nothing of the architecture, so the eigenvalue is
                of logits brought to unit deviation.
        """
        supernet, method = self.method.supernet, self.method
        if not method.searching:
            return Sight(None, 0, None)
        self.history.copy_(self.history.roll(-1, dims=0))
        self.history[-1] = flat(supernet.alpha_parameters())
        eigenvalue = self._curvature(valid, config, seed, solved=solved)
        genotype = derive(supernet, method.preference)
        skips, code = decided_skips(method, genotype), _code(genotype)
        _count(self.seen, going=True)
        _count(self.crowded, going=skips > config.max_skips)
        _count(self.stable, going=torch.equal(code, self.derived))
        self.derived.copy_(code)
        return Sight(eigenvalue, skips, self._verdict(config, skips))

    def _verdict(self, config: GuardConfig, skips: int) -> str | None:
        back, reason = 0, None
        if int(self.crowded) >= config.patience:
            back = int(self.crowded)
            reason = f"collapsed: {skips} skip connections lead their edges, for {back} epochs"
        elif (growth := self._growth()) * config.growth > 1:
            back = LAG
            reason = f"collapsed: the largest eigenvalue grew {growth:.2f}-fold in {LAG} epochs"
        elif (
            config.stable_epochs
            and int(self.stable) >= config.stable_epochs
            and self._settled(config)
        ):
            reason = f"converged: the same cells for {int(self.stable)} epochs, and decided"
        if reason is not None:
            self.over.fill_(1)
            self._restore(self.history[-1 - min(back, int(self.seen) - 1, LAG)])
        return reason

    def _growth(self) -> float:
        """How many times the eigenvalue's mean is that of `LAG` epochs before; 0 if unknown."""
        if int(self.measured) < WINDOW + LAG:
            return 0.0
        then, now = self.eigenvalues[:WINDOW].mean().item(), self.eigenvalues[LAG:].mean().item()
        return now / then if then > 0 else 0.0

    def _settled(self, config: GuardConfig) -> bool:
        method = self.method
        most = config.settled_entropy * math.log(len(method.supernet.space.operations))
        return all(
            mean_entropy(method.preference(kind, alphas.detach()).log()) <= most
            for kind, alphas in method.supernet.alphas().items()
        )

    def _curvature(
        self, valid: LabelledImages, config: GuardConfig, seed: int, *, solved: bool
    ) -> float | None:
        every = config.eigenvalue_every
        if not every or self.method.progress < config.eigenvalue_from:
            return None
        self.eigenvalues.copy_(self.eigenvalues.roll(-1))
        _count(self.measured, going=True)
        if int(self.measured - 1) % every:
            self.eigenvalues[-1] = self.eigenvalues[-2]
            return None
        generator = epoch_generator(seed, 0, _STREAM)
        some = valid.sample(config.eigenvalue_images, generator)
        images, labels = next(some.batches(len(some)))
        supernet = self.method.supernet
        training = supernet.training
        with statistics_kept(supernet):
            supernet.train()
            scale = _deviation(supernet(images)) if solved else 1.0

            def loss() -> Tensor:
                return F.cross_entropy(supernet(images) / scale, labels)

            value = largest_eigenvalue(loss, supernet.alpha_parameters(), generator)
        supernet.train(training)
        self.eigenvalues[-1] = value
        return value

    @torch.no_grad()
    def _restore(self, values: Tensor) -> None:
        parameters = self.method.supernet.alpha_parameters()
        for parameter, value in zip(parameters, unflat(values, parameters), strict=True):
            parameter.copy_(value)


def _deviation(logits: Tensor) -> float:
    """Standard deviation over images and classes; one where all are alike."""
    found = float(logits.detach().std())
    return found if found > 0 else 1.0


def _code(genotype: Genotype) -> Tensor:
    """Operations and sources of all edges as numbers, as many for every genotype of a space."""
    operations = CELL_SPACES[genotype.cells].operations
    cells = *genotype.normal, *genotype.reduction
    edges = [edge for node in cells for edge in node]
    return torch.tensor([(operations.index(e.operation), e.source) for e in edges])


def decided_skips(method: Method, genotype: Genotype) -> int:
    """Skip connections of the normal cell that weigh clearly more than their edges' next best."""
    space = method.supernet.space
    weights = method.preference("normal", method.supernet.alphas()["normal"].detach())
    skip, found = "skip_connect", 0
    never = {skip, "none"} if space.cell.kept is not None else {skip}
    rivals = [c for c, operation in enumerate(space.operations) if operation not in never]
    for node, edges in enumerate(genotype.normal):
        for edge in edges:
            row = weights[space.edge(node, edge.source)]
            if edge.operation == skip:
                found += bool(row[space.operations.index(skip)] > DECIDED * row[rivals].max())
    return found


def _count(tensor: Tensor, *, going: bool) -> None:
    tensor.copy_(tensor + 1 if going else torch.zeros_like(tensor))
