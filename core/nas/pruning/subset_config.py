"""Settings of a search for a subset of a network's components."""

from __future__ import annotations

from dataclasses import dataclass

from core.nas.limits import check_limits
from core.nas.loop import TrainingConfig
from core.nas.pruning import relaxation


@dataclass(frozen=True, slots=True, kw_only=True)
class SubsetConfig(TrainingConfig):
    """Settings of a search for a subset; those of the weights are `TrainingConfig`'s.

    Args:
        gamma: Price of the whole network in nats; of no account where there is a target.
        target: Cost wanted, as a share of the whole network's: every step ends at it, gamma is
            the multiplier that goes with it, and the subset in the end is the one by the scores
            that fits. None for what gamma gives.
        cold: Temperature c of the masks.
        warm: Temperature h of their slope at first.
        warm_end: Of the last epoch; not below c.
        theta_rate: In warm temperatures per step of a usual gradient (`ScaledDescent`).
        theta_begin: Where the masks' parameters begin, in warm temperatures above the threshold.
        theta_spread: They are drawn at most as far from there: components that are alike, such
            as channels of random weights, would otherwise all leave before it is felt.
        rest: Share of the epochs, from the first, in which only weights learn.
        noise: Draw masks in every step, as likely as their warm value says, so that weights
            and slopes know the network with and without each component; else always the same.
        arrival: Share of the epochs after the rest in which the target falls from 1 to itself.
        resample_steps: Fresh weights after so many steps, so that the subset owes nothing to one
            draw of them; 0 for weights that learn all along, and are thrown away in the end.

    Raises:
        ValueError: a value that is not finite or out of range, or temperatures not in order.
    """

    gamma: float = 0.0
    target: float | None = None
    cold: float = 0.02
    warm: float = 1.0
    warm_end: float = 0.25
    theta_rate: float = 0.1
    theta_begin: float = 1.0
    theta_spread: float = 0.9
    rest: float = 0.2
    noise: bool = False
    arrival: float = 0.4
    resample_steps: int = 0

    def __post_init__(self) -> None:
        # The zero-argument super() does not survive slots=True.
        TrainingConfig.__post_init__(self)
        limits: dict[str, tuple[float, float]] = {
            "gamma": (0.0, 1e9),
            "cold": (1e-6, 1e3),
            "warm": (1e-6, 1e3),
            "warm_end": (1e-6, 1e3),
            "theta_rate": (0.0, 10.0),
            "theta_begin": (-relaxation.CLIP, relaxation.CLIP),
            "theta_spread": (0.0, 10.0),
            "rest": (0.0, 1.0),
            "arrival": (0.0, 1.0),
            "resample_steps": (0, 1_000_000_000),
        }
        if self.target is not None:
            limits["target"] = (0.0, 1.0)
        check_limits(self, limits)
        if not self.cold <= self.warm_end <= self.warm:
            raise ValueError(
                f"cold: {self.cold}, {self.warm_end}, {self.warm} are not cold <= warm_end <= warm"
            )

    def temperature(self, epoch: int) -> float:
        """h in the epoch with this index, from 0."""
        rest = self.resting
        return relaxation.annealed(
            self.warm, self.warm_end, (epoch - rest) / max(1, self.epochs - 1 - rest)
        )

    def wanted(self, progress: float) -> float:
        """The cost to have at that share of the epochs after the rest."""
        assert self.target is not None
        left = 1.0 if progress >= self.arrival else progress / self.arrival
        return 1 - left * (1 - self.target)

    @property
    def resting(self) -> int:
        """Epochs in which only weights learn."""
        return int(self.rest * self.epochs)
