"""What head start a source should give a new target, by what earlier targets saw of theirs.

`core.ot.lead_model` fits the history; whether the fit is to be believed is decided on targets
left out, see :func:`learn`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from statistics import fmean, stdev

from core.ot.lead_model import LeadModel, Observation, fit

FEWEST = 12  # targets, before anything is said
COVERAGE = 0.8
_CLEAR = 2.0  # standard errors that are more than noise


@dataclass(frozen=True, slots=True)
class Expectation:
    """A lead in points, and the interval that covers it in about `COVERAGE` of all targets."""

    lead: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Margin:
    """A mean over targets and its standard error; `clear` when it is above zero beyond noise."""

    mean: float
    error: float

    @property
    def clear(self) -> bool:
        """Whether it is above zero by more than two standard errors."""
        return self.mean > _CLEAR * self.error


@dataclass(frozen=True, slots=True, eq=False)
class Forecast:
    """What was learned.

    Attributes:
        targets: How many the history has.
        order: On targets left out, how much larger a share of pairs of sources is put in the
            right order than by distance; None with fewer than two targets that can tell.
        value: By how much the squared error, in points squared, is below that of the mean lead.
        model: Of the whole history. All three are None with fewer than `FEWEST` targets.
    """

    targets: int
    order: Margin | None = None
    value: Margin | None = None
    model: LeadModel | None = None
    _without: Mapping[str, LeadModel] = field(default_factory=dict, repr=False)
    # Target, error when left out, weight.
    _misses: tuple[tuple[str, float, float], ...] = field(default=(), repr=False)

    @property
    def proven(self) -> bool:
        """Whether there is history enough, and it speaks for this forecast on both counts."""
        return all(each is not None and each.clear for each in (self.order, self.value))

    def expect(self, source: str, distance: float | None) -> Expectation | None:
        """The lead of a source on a new target; None unless the forecast is proven.

        The interval is the jackknife+ (Barber et al. 2021, section 1.2), whole targets left out,
        because the sources of one are not independent; each target weighs the same. It covers
        with 1 - 2 (1 - `COVERAGE`) at least if targets are exchangeable, with about `COVERAGE` in
        practice.

        Args:
            source: Need not be known: then only its distance speaks.
            distance: In the units of the history; None where there is none.
        """
        if self.model is None or not self.proven:
            return None
        others = {name: each.at(source, distance) for name, each in self._without.items()}
        reach = [(others[target], miss, weight) for target, miss, weight in self._misses]
        return Expectation(
            self.model.at(source, distance),
            low=-_quantile((miss - lead, weight) for lead, miss, weight in reach),
            high=_quantile((lead + miss, weight) for lead, miss, weight in reach),
        )


def learn(observations: Iterable[Observation]) -> Forecast:
    """Fit the history, and judge the fit by leaving out one target after another.

    The forecast is proven with `FEWEST` targets, if on targets left out it puts pairs of sources
    in the right order more often than their distance does *and* errs less than the mean lead of
    the other targets, both by more than two standard errors over targets.

    Args:
        observations: In any order; a pair that was measured several times counts by its means.
    """
    history = _once(observations)
    by_target: dict[str, list[Observation]] = {}
    for each in history:
        by_target.setdefault(each.target, []).append(each)
    if len(by_target) < FEWEST:
        return Forecast(len(by_target))
    without: dict[str, LeadModel] = {}
    misses, orders, values = [], [], []
    for name, seen in by_target.items():
        rest = [each for each in history if each.target != name]
        without[name], mean = fit(rest), fmean(each.lead for each in rest)
        found = [without[name].at(each.source, each.distance) for each in seen]
        errors = [each.lead - lead for each, lead in zip(seen, found, strict=True)]
        share = 1 / (len(seen) * (len(by_target) + 1))
        misses += [(name, abs(error), share) for error in errors]
        plain = fmean((each.lead - mean) ** 2 for each in seen)
        values.append(plain - fmean(error**2 for error in errors))
        if (gain := _better_order(seen, found)) is not None:
            orders.append(gain)
    return Forecast(
        len(by_target),
        order=_margin(orders),
        value=_margin(values),
        model=fit(history),
        _without=without,
        _misses=tuple(misses),
    )


def _once(observations: Iterable[Observation]) -> list[Observation]:
    pairs: dict[tuple[str, str], list[Observation]] = {}
    for each in observations:
        pairs.setdefault((each.target, each.source), []).append(each)
    merged = []
    for (target, source), seen in sorted(pairs.items()):
        distances = sorted(each.distance for each in seen if each.distance is not None)
        lead = fmean(sorted(each.lead for each in seen))
        merged.append(Observation(target, source, fmean(distances) if distances else None, lead))
    return merged


def _better_order(seen: Sequence[Observation], found: Sequence[float]) -> float | None:
    """How many more of its pairs the forecast orders rightly than distance, which also decides
    where the forecast is a tie; as a share."""
    gains = []
    for (one, at_one), (two, at_two) in combinations(zip(seen, found, strict=True), 2):
        if one.distance is None or two.distance is None or one.lead == two.lead:
            continue
        truth, nearer = one.lead - two.lead, two.distance - one.distance
        gains.append(_right(truth, (at_one - at_two) or nearer) - _right(truth, nearer))
    return fmean(gains) if gains else None


def _right(truth: float, said: float) -> float:
    return 0.5 if said == 0 else float((truth > 0) == (said > 0))


def _margin(values: Sequence[float]) -> Margin | None:
    if len(values) < 2:
        return None
    return Margin(fmean(values), stdev(values) / math.sqrt(len(values)))


def _quantile(weighted: Iterable[tuple[float, float]]) -> float:
    """The least value with `COVERAGE` of all weight up to it; weight that is missing from one
    lies at infinity."""
    reached = 0.0
    for value, weight in sorted(weighted):
        reached += weight
        if reached >= COVERAGE - 1e-9:
            return value
    return math.inf
