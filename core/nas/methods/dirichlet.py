"""DrNAS: mixtures drawn from Dirichlet distributions that are learned."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from core.nas.methods.base import Batch, Method
from core.nas.supernet import Supernet


class Dirichlet(Method):
    """DrNAS (Chen et al. 2021, arXiv 2006.10355, section 3).

    An edge's mixture is random, ``theta ~ Dirichlet(c)`` with ``c = ELU(alpha) + 1``, drawn anew
    for each pass of either kind of step. Alphas descend

        ``E L_val(w, theta) + anchor KL(Dirichlet(c) || Dirichlet(1))``

    by pathwise gradients (`sample`). The supernet is measured, and a genotype derived, by the
    mean ``c / sum c``.

    The distance to the symmetric distribution is the divergence, weighed by the paper's 1e-3; so
    the alphas need no decay of their own. (The authors' code has a squared norm of the alphas in
    its place by default, which is what `alpha_weight_decay` is.) The paper's schedule of growing
    channels and shrinking spaces is not part of the method here.

    Args:
        supernet: See `Method`.
        anchor: Weight of the divergence, in nats per edge.

    Raises:
        ValueError: `anchor` is negative.
    """

    name = "drnas"

    def __init__(self, supernet: Supernet, *, anchor: float = 1e-3) -> None:
        super().__init__(supernet)
        if not anchor >= 0:
            raise ValueError(f"drnas: anchor {anchor} is negative")
        self.anchor = anchor

    def relax(self, kind: str, alphas: Tensor) -> Tensor:
        """The distribution's mean."""
        return self.preference(kind, alphas)

    def relax_alphas(self, kind: str, alphas: Tensor) -> Tensor:  # noqa: ARG002
        """A draw."""
        return sample(concentration(alphas), self.generator)

    def relax_weights(self, kind: str, alphas: Tensor) -> Tensor:
        """A draw, without a gradient."""
        return self.relax_alphas(kind, alphas.detach())

    def preference(self, kind: str, alphas: Tensor) -> Tensor:  # noqa: ARG002
        """The distribution's mean."""
        parameters = concentration(alphas)
        return parameters / parameters.sum(dim=-1, keepdim=True)

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy of one draw, and the divergence."""
        rows = [divergence(concentration(a)).sum() for a in self.supernet.alphas().values()]
        return super().loss(batch) + self.anchor * torch.stack(rows).sum()


def concentration(alphas: Tensor) -> Tensor:
    """Parameters of the distributions, positive: ``[edges, O]``."""
    # ELU rounds to -1 where alphas are very negative; a parameter of 0 has no distribution.
    return (F.elu(alphas) + 1).clamp_min(1e-6)


def divergence(parameters: Tensor) -> Tensor:
    """``KL(Dirichlet(c) || Dirichlet(1))`` in nats, of rows ``[..., O]``: ``[...]``."""
    total = parameters.sum(dim=-1, keepdim=True)
    uniform = torch.lgamma(torch.full_like(total[..., 0], parameters.shape[-1]))
    normaliser = torch.lgamma(total[..., 0]) - torch.lgamma(parameters).sum(dim=-1)
    logs = torch.digamma(parameters) - torch.digamma(total)
    return normaliser - uniform + ((parameters - 1) * logs).sum(dim=-1)


def sample(parameters: Tensor, generator: torch.Generator) -> Tensor:
    """Draws from Dirichlet distributions, differentiable in their parameters.

    The derivative is pathwise (implicit reparameterisation: Figurnov et al. 2018, arXiv
    1805.08498; Jankowiak & Obermeyer 2018, arXiv 1806.01851). `torch.distributions` has it too,
    but draws from the global generator, which a resume does not restore.

    Args:
        parameters: ``[..., O]``, positive.
        generator: On the device of the parameters.

    Returns:
        ``[..., O]``; rows sum to 1.
    """
    drawn: Tensor = _Sample.apply(parameters, generator)
    return drawn


class _Sample(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, parameters: Tensor, generator: torch.Generator) -> Tensor:
        drawn = torch._sample_dirichlet(parameters, generator)
        ctx.save_for_backward(drawn, parameters)
        return drawn

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, None]:
        (slope,) = outputs
        drawn, parameters = ctx.saved_tensors
        total = parameters.sum(dim=-1, keepdim=True).expand_as(parameters)
        rates = torch._dirichlet_grad(drawn, parameters, total)
        # One parameter moves its own entry up and all entries towards zero in proportion.
        return rates * (slope - (drawn * slope).sum(dim=-1, keepdim=True)), None
