"""DARTS with the architecture's gradient one weight step ahead."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from core.nas.loop import TrainingConfig, gradients
from core.nas.methods.base import Batch, Gradients, Method
from core.nas.normalisation import statistics_kept
from core.nas.optimisers import Momentum

_REACH = 0.01  # of the finite difference, in norms of the weights (section 2.3)


class SecondOrder(Method):
    """Second-order DARTS (Liu et al. 2019, arXiv 1806.09055, equations 6-8 with xi = rate).

    With ``w' = w - rate (momentum v + dL_train(w, alpha)/dw + decay w)``, v the optimiser's
    velocity as in the authors' code,

        ``dL_val(w', alpha)/dalpha - rate (dL_train(w+, alpha) - dL_train(w-, alpha)) / 2 eps``

    where the last two are gradients for alpha, ``w± = w ± eps g``, ``g = dL_val(w', alpha)/dw'``
    and ``eps = 0.01 / ||g||``. Four backward passes to first order's one.

    Weights are moved in place and put back to the bit; no network is built. Running statistics
    are put back too: those at w' or w± describe no network that is kept. (The authors' code lets
    the passes at w and w± into them. Neither matters to training, which normalises by batch.)
    """

    name = "darts-second-order"
    takes_gap = False

    def gradients(
        self,
        train: Batch,
        valid: Batch,
        *,
        descent: Momentum,
        config: TrainingConfig,
        rate: float,
    ) -> Gradients:
        """As in the class's description; arguments as in `Method.gradients`."""
        weights: list[Tensor] = list(descent.parameters)
        alphas = self.supernet.alpha_parameters()
        start = [weight.detach().clone() for weight in weights]
        with statistics_kept(self.supernet):
            try:
                slope = _filled(gradients(self.cross_entropy(train), descent.parameters), weights)
                _step_ahead(weights, slope, descent, config, rate)
                ahead = gradients(self.loss(valid), [*alphas, *descent.parameters])
                direction = _filled(ahead[len(alphas) :], weights)
                norm = torch.stack(torch._foreach_norm(direction)).norm()
                # A direction of zero reaches nowhere, not infinitely far.
                reach = _REACH / norm.clamp_min(1e-12)
                moves = torch._foreach_mul(direction, reach)
                sides = []
                for sign in (1, -1):
                    with torch.no_grad():
                        torch._foreach_copy_(weights, start)
                        torch._foreach_add_(weights, moves, alpha=sign)
                    sides.append(_filled(gradients(self.cross_entropy(train), alphas), alphas))
            finally:
                with torch.no_grad():
                    torch._foreach_copy_(weights, start)
        direct = _filled(ahead[: len(alphas)], alphas)
        curved = torch._foreach_mul(torch._foreach_sub(sides[0], sides[1]), rate / (2 * reach))
        return tuple(torch._foreach_sub(direct, curved))


@torch.no_grad()
def _step_ahead(
    weights: list[Tensor],
    slope: list[Tensor],
    descent: Momentum,
    config: TrainingConfig,
    rate: float,
) -> None:
    step = torch._foreach_add(slope, descent.velocities, alpha=config.momentum)
    torch._foreach_add_(step, weights, alpha=config.weight_decay)
    torch._foreach_add_(weights, step, alpha=-rate)


def _filled(found: Sequence[Tensor | None], parameters: Sequence[Tensor]) -> list[Tensor]:
    return [
        torch.zeros_like(parameter, requires_grad=False) if gradient is None else gradient
        for gradient, parameter in zip(found, parameters, strict=True)
    ]
