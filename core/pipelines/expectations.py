"""What head start each possible source should give, by the races of earlier searches."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core.domain.work import SearchInputs
from core.ot import expected_lead
from core.ot.expected_lead import Expectation, Forecast
from core.ot.lead_model import Observation
from core.pipelines.origins import Origin


@dataclass(frozen=True, slots=True)
class Expectations:
    """A forecast, and how many searches it was learned from."""

    forecast: Forecast
    searches: int

    def likeliest(self, near: Sequence[Origin], count: int) -> list[Origin]:
        """So many of the sources, which come nearest first: those with the largest expected lead
        if the forecast is proven, else the nearest."""
        if not self.forecast.proven:
            return list(near[:count])
        return sorted(near, key=self._behind)[:count]

    def told(self, contestants: Sequence[Origin]) -> dict[str, Any]:
        """What a search's record says was expected of its contestants, before they ran."""
        found = [(each, self._of(each)) for each in contestants]
        return {
            "proven": self.forecast.proven,
            "datasets": self.forecast.targets,
            "datasets_needed": expected_lead.FEWEST,
            "searches": self.searches,
            "sources": [
                {
                    "supernet_id": str(each.supernet.id),
                    "name": each.supernet.name,
                    "lead": expected.lead,
                    "interval": [expected.low, expected.high],
                }
                for each, expected in found
                if each.supernet is not None and expected is not None
            ],
        }

    def _of(self, origin: Origin) -> Expectation | None:
        if origin.supernet is None:
            return None
        return self.forecast.expect(str(origin.supernet.id), origin.distance)

    def _behind(self, origin: Origin) -> float:
        expected = self._of(origin)
        return 0.0 if expected is None else -expected.lead


def learned(inputs: SearchInputs) -> Expectations:
    """What the history that the job was given has to say."""
    seen = (
        Observation(str(past.dataset_id), str(each.supernet_id), each.distance, each.points)
        for past in inputs.history
        for each in past.leads
    )
    return Expectations(expected_lead.learn(seen), len(inputs.history))
