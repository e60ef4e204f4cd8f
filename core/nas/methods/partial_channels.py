"""PC-DARTS: partial channels, weighted edges, and alphas that wait."""

from __future__ import annotations

from core.nas.methods.base import Method
from core.nas.supernet import Supernet


class PartialChannels(Method):
    """PC-DARTS (Xu et al. 2020, arXiv 1907.05737).

    The cell is the space's: with ``partial`` K > 1 the first 1/K of a state's channels S are mixed
    and the others pass by (equation 1), and a node sums its in-edges by a softmax of their betas
    (equation 2),

        ``f(x) = sum_o softmax(alpha)_o o(S x) + (1 - S) x``
        ``x_j = sum_i softmax(beta)_ij f(x_i)``

    Betas descend with the alphas. Both rest until the weights have had their first epochs, 15 of
    50 in the paper: operations without weights would win before the others have learned.

    Raises:
        ValueError: the space mixes all channels.
    """

    name = "pc-darts"
    frozen = 0.3

    def __init__(self, supernet: Supernet) -> None:
        super().__init__(supernet)
        if supernet.space.partial == 1:
            raise ValueError(
                "pc-darts: the space mixes all channels; give it partial=4, the paper's value"
            )
