"""How the contestants of a race stand after a rung, who goes on, and who has won."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

_CLEAR = 2.0  # standard errors of a paired difference that are more than noise


@dataclass(frozen=True, slots=True)
class Standing:
    """A contestant after a rung.

    Args:
        name: The contestant's.
        cold: Whether it is the cold start.
        accuracy: On the validation images of the rung, in 0..1; None if it could not run.
        error: Binomial standard error of it.
        behind: How much the rung's leader is better; 0 for the leader.
        behind_error: Standard error of that paired difference.
        seconds: Wall clock of this rung.
        out: Why it does not go on; None while it does.
    """

    name: str
    cold: bool
    accuracy: float | None
    error: float | None
    behind: float | None
    behind_error: float | None
    seconds: float
    out: str | None = None


@dataclass(frozen=True, slots=True)
class Rung:
    """One round of the race, `epochs` of search completed by each; 0 before any step."""

    epochs: int
    train_images: int
    valid_images: int
    standings: tuple[Standing, ...]

    @property
    def alive(self) -> tuple[Standing, ...]:
        """Those that go on, in the contestants' order."""
        return tuple(each for each in self.standings if each.out is None)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The winner, and why in words."""

    name: str
    reason: str


@dataclass(slots=True, eq=False)
class Trial:
    """What a contestant answered in one rung; `hits` is None where it could not run."""

    name: str
    cold: bool
    seconds: float = 0.0
    hits: Tensor | None = None
    failed: str | None = None

    @property
    def accuracy(self) -> float:
        """Share of right answers; below all others where it could not run."""
        return -math.inf if self.hits is None else float(self.hits.double().mean())


def judge(trials: Sequence[Trial]) -> tuple[Standing, ...]:
    """Who goes on: nobody clearly worse than another, and no more than the better half.

    Two may always go on, or nothing could be decided in a longer rung; cold, as long as it is
    not clearly worse, is one of them: what it is worth is known best when it has searched.
    """
    ran = sorted(
        (each for each in trials if each.hits is not None),
        key=lambda each: each.accuracy,
        reverse=True,
    )
    out = {each.name: each.failed for each in trials if each.failed is not None}
    for place, each in enumerate(ran):
        if (better := _clearly_better(ran[:place], each)) is not None:
            out[each.name] = better
    left = [each for each in ran if each.name not in out]
    places = max(2, math.ceil(len(ran) / 2))
    kept = sorted(left, key=lambda each: not each.cold)[:places]  # cold has a seat
    for each in left:
        if each not in kept:
            out[each.name] = f"not among the best {places}"
    return tuple(_standing(each, ran[0] if ran else each, out.get(each.name)) for each in trials)


def _clearly_better(others: Sequence[Trial], trial: Trial) -> str | None:
    for other in others:
        difference, error = _difference(other, trial)
        if difference > _CLEAR * error:
            points, noise = 100 * difference, 100 * error
            return f"{points:.1f} \N{PLUS-MINUS SIGN} {noise:.1f} points behind {other.name}"
    return None


def _standing(trial: Trial, leader: Trial, out: str | None) -> Standing:
    if trial.hits is None:
        return Standing(trial.name, trial.cold, None, None, None, None, trial.seconds, out)
    accuracy = trial.accuracy
    error = math.sqrt(accuracy * (1 - accuracy) / len(trial.hits))
    behind, behind_error = _difference(leader, trial)
    return Standing(
        trial.name,
        trial.cold,
        accuracy,
        error,
        behind,
        behind_error,
        trial.seconds,
        out,
    )


def _difference(first: Trial, second: Trial) -> tuple[float, float]:
    if first.hits is None or second.hits is None:
        raise ValueError("a contestant without answers cannot be compared")
    return paired(first.hits, second.hits)


def verdict(rungs: Sequence[Rung]) -> Verdict:
    """Who won: the most accurate of those left in the last rung; of equals the earlier.

    Args:
        rungs: All of a race.

    Raises:
        ValueError: no contestant could start.
    """
    # A rung that nobody ended (all diverged) says nothing: the one before it decides.
    last = next((rung for rung in reversed(rungs) if rung.alive), None)
    if last is None:
        reasons = "; ".join(f"{each.name}: {each.out}" for each in rungs[0].standings)
        raise ValueError(f"start: no contestant can run ({reasons})")
    winner = min(last.alive, key=lambda each: each.behind or 0.0)
    if winner.cold:
        rivals = any(not each.cold and each.accuracy is not None for each in last.standings)
        told = "no source answers more images right than a cold start"
        return Verdict(winner.name, told if rivals else "no source can be started from")
    return Verdict(winner.name, _over_cold(rungs, last))


def _over_cold(rungs: Sequence[Rung], last: Rung) -> str:
    """What a source's win over the cold start was like."""
    beaten = next((e for r in rungs for e in r.standings if e.cold and e.out is not None), None)
    if beaten is not None:
        return f"cold start: {beaten.out}"
    cold = next((each for each in last.alive if each.cold), None)
    if cold is None:
        return "no cold start was in the race"
    points, noise = 100 * (cold.behind or 0.0), 100 * (cold.behind_error or 0.0)
    return f"cold start: {points:.1f} \N{PLUS-MINUS SIGN} {noise:.1f} points behind, a tie"


def paired(first: Tensor, second: Tensor) -> tuple[float, float]:
    """The difference of two accuracies on the same images, and its standard error.

    With b images that only the first gets right and c that only the second does, the difference
    is ``(b - c) / n`` with variance ``(b + c - (b - c)^2 / n) / n^2`` (McNemar 1947).

    Args:
        first: ``[n]`` bool, whether each answer is right.
        second: Likewise.
    """
    n = len(first)
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    gained = only_first - only_second
    return gained / n, math.sqrt(only_first + only_second - gained**2 / n) / n
