"""What a method of search may do otherwise than first-order DARTS, which is the base itself."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from core.nas.images import LabelledImages, epoch_generator
from core.nas.loop import TrainingConfig, gradients
from core.nas.objectives import generalisation_gap
from core.nas.optimisers import Momentum
from core.nas.precision import Precision, autocast, widened
from core.nas.supernet import Supernet, softmax

Batch = tuple[Tensor, Tensor]
Gradients = tuple[Tensor | None, ...]

_STREAM = 16  # of `epoch_generator`, apart from the loop's own


class Method:
    """First-order DARTS (Liu et al. 2019, arXiv 1806.09055, equation 6 with xi = 0).

    Alphas descend ``L_val(w, alpha)`` at the current weights, weights descend
    ``L_train(w, alpha)``, both under the softmax. Other methods override what they do otherwise;
    the loop is the same for all.

    Args:
        supernet: Searched in place.

    Raises:
        ValueError: the supernet's space is none that the method can search.

    Attributes:
        frozen: Share of the epochs, from the first, in which the alphas rest.
        progress: Share of the epochs that are over.
        precision: Of the passes that the alphas' gradients are taken of.
        takes_gap: Whether the method's gradients can include the generalisation gap.
        gap: Coefficient of the generalisation gap in what the alphas descend
            (`core.nas.objectives.generalisation_gap`); 0 leaves it out.
        generator: Of this epoch, on the supernet's device: all that a method draws.
    """

    name = "darts"
    frozen = 0.0
    takes_gap = True

    def __init__(self, supernet: Supernet) -> None:
        self.supernet = supernet
        self.progress = 0.0
        self.precision: Precision = "fp32"
        self.gap = 0.0
        self.generator = torch.Generator()

    def tensors(self) -> dict[str, Tensor]:
        """The method's own state, live: a resume copies into these tensors."""
        return {}

    def begin(self, epoch: int, config: TrainingConfig) -> None:
        """Called before the steps of an epoch (counted from 0)."""
        self.progress = epoch / max(1, config.epochs)
        seed = epoch_generator(config.seed, epoch, _STREAM).initial_seed()
        device = self.supernet.stem.device
        self.generator = torch.Generator(device).manual_seed(seed)

    @property
    def searching(self) -> bool:
        """Whether the alphas move in this epoch."""
        return self.progress >= self.frozen

    def relax(self, kind: str, alphas: Tensor) -> Tensor:
        """The relaxation outside of steps, where the supernet is measured: ``[edges, O]``."""
        return softmax(kind, alphas)

    def relax_alphas(self, kind: str, alphas: Tensor) -> Tensor:
        """The relaxation of architecture steps."""
        return self.relax(kind, alphas)

    def relax_weights(self, kind: str, alphas: Tensor) -> Tensor:
        """The relaxation of weight steps."""
        return self.relax(kind, alphas)

    def preference(self, kind: str, alphas: Tensor) -> Tensor:
        """Operations' weights by which a genotype is derived: ``[edges, O]``, rows sum to 1."""
        return softmax(kind, alphas)

    def loss(self, batch: Batch) -> Tensor:
        """What the alphas descend, of a batch of the validation half."""
        return self.cross_entropy(batch)

    def cross_entropy(self, batch: Batch) -> Tensor:
        """Of the supernet's answers to a batch, in the method's precision."""
        images, labels = batch
        with autocast(self.precision, images.device):
            return F.cross_entropy(widened(self.supernet(images)), labels)

    def gradients(
        self,
        train: Batch,
        valid: Batch,
        *,
        descent: Momentum,  # noqa: ARG002  (for methods that look a step ahead)
        config: TrainingConfig,  # noqa: ARG002
        rate: float,  # noqa: ARG002
    ) -> Gradients:
        """Of the architecture parameters, in the order of `Supernet.alpha_parameters`.

        Args:
            train: The batch of the weight step that follows.
            valid: A batch of the validation half.
            descent: Optimiser of the weights.
            config: Its momentum and weight decay.
            rate: Its learning rate in this epoch.
        """
        loss = self.loss(valid)
        if self.gap:
            loss = generalisation_gap(self.loss(train), loss, coefficient=self.gap)
        return gradients(loss, self.supernet.alpha_parameters())

    def finish(self, valid: LabelledImages, config: TrainingConfig) -> None:
        """Called when an epoch is over and measured."""
