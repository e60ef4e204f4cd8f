"""When a search has collapsed, and when it is over: what its guard goes by.

Imports no torch: the serving process says it in words.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from core.nas.limits import check_limits

# Zela et al. 2020, section 4.3: means over five epochs, compared with five epochs before.
WINDOW, LAG = 5, 5

# A skip connection counts as decided when it weighs this many times its edge's next best.
DECIDED = 1.25


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardConfig:
    """When a search ends early.

    Args:
        max_skips: Most decided skip connections of a healthy normal cell (two: Liang et al. 2019,
            arXiv 1909.06035; Chen et al. 2019, arXiv 1904.12760).
        patience: Epochs in a row with more of them that are a collapse.
        growth: A collapse is when the largest eigenvalue's mean over five epochs, times this,
            exceeds the mean five epochs before. Zela et al. 2020 (arXiv 1909.09656, section 4.3)
            take 0.75; small tasks are noisier, and reach that in searches that end well.
        eigenvalue_every: Epochs from one measurement of the eigenvalue to the next, which is
            taken to be unchanged in between; 0 never measures.
        eigenvalue_images: Validation images it is measured on.
        eigenvalue_from: Share of the epochs after which it is measured: at first curvature grows
            in every search, as the weights learn to use their operations.
        stable_epochs: Epochs without a change of the derived cells before a search has converged;
            0 never ends one for it.
        settled_entropy: Largest mean entropy of a converged search, as a share of ``log O``.

    Raises:
        ValueError: a value that is not finite or out of range.
    """

    max_skips: int = 2
    patience: int = 3
    growth: float = 0.5
    eigenvalue_every: int = 2
    eigenvalue_images: int = 128
    eigenvalue_from: float = 0.4
    stable_epochs: int = 10
    settled_entropy: float = 0.5

    LIMITS: ClassVar[dict[str, tuple[float, float]]] = {
        "max_skips": (0, 1000),
        "patience": (1, LAG),
        "growth": (0.0, 1.0),
        "eigenvalue_every": (0, 100_000),
        "eigenvalue_images": (2, 1_000_000_000),
        "eigenvalue_from": (0.0, 1.0),
        "stable_epochs": (0, 100_000),
        "settled_entropy": (0.0, 1.0),
    }

    def __post_init__(self) -> None:
        check_limits(self, self.LIMITS)

    def within(self, epochs: int) -> GuardConfig:
        """The same, without the eigenvalue where a search of so many epochs ends before a verdict.

        It takes ten epochs' means to judge growth, and measuring costs about half an epoch on
        small tasks.
        """
        looked_at = epochs * (1 - self.eigenvalue_from)
        return self if looked_at >= WINDOW + LAG else replace(self, eigenvalue_every=0)
