"""A search beside its control: which is which, and when one passed the other."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy.orm import Session

from api.web import live_charts, metrics, words
from api.web.live_charts import Arms
from core.domain.jobs import Job, JobRecord
from core.domain.searches import Search, StartPolicy
from core.services import controls, jobs

CONTROL, WARM = "from nothing (control)", "with a head start"


class Moment(NamedTuple):
    """A search after one of its epochs."""

    epoch: float
    seconds: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Beside:
    """The other search, by its `name` in the charts and its epochs so far; `said` is how the two
    stand."""

    job: Job
    name: str
    stages: Mapping[str, Arms]
    said: str


def is_control(search: Search) -> bool:
    """Whether the search was asked for from nothing."""
    return search.spec.get("policy") == StartPolicy.COLD


def beside(session: Session, search: Search, records: Sequence[JobRecord]) -> Beside | None:
    """The search that this one is to be compared with; None where there is none yet."""
    other = controls.beside(session, search)
    if other is None:
        return None
    job, mine = jobs.get(session, other.job_id), live_charts.stages(records)
    theirs = live_charts.stages(jobs.records(session, job.id))
    if is_control(search):
        return Beside(job, WARM, theirs, _passing(theirs, mine))
    return Beside(job, CONTROL, theirs, _passing(mine, theirs))


def _passing(warm: Mapping[str, Arms], control: Mapping[str, Arms]) -> str:
    """When the head start had more than the control's best so far."""
    ours, theirs = list(_course(warm)), list(_course(control))
    if not ours or not theirs:
        return f"The {'head start' if theirs else 'control'} has measured nothing yet."
    best = max(theirs, key=lambda each: each.accuracy)
    mark = f"the control's best so far ({words.percent(best.accuracy)} {_when(best)})"
    passed = next((each for each in ours if each.accuracy > best.accuracy), None)
    if passed is not None:
        return f"The head start passed {mark} {_when(passed)}."
    most = max(each.accuracy for each in ours)
    return f"The head start has not passed {mark} yet; {words.percent(most)} is its best."


def _course(stages: Mapping[str, Arms]) -> Iterator[Moment]:
    """Every epoch of its searching, one learning rate after the other."""
    before = spent = 0.0
    for rows in stages.get("search", {}).values():
        for row in rows:
            spent = before + (metrics.number(row.get("elapsed")) or 0.0)
            if (accuracy := metrics.number(row.get("valid_accuracy"))) is not None:
                yield Moment(metrics.number(row.get("epoch")) or 0.0, spent, accuracy)
        before = spent


def _when(moment: Moment) -> str:
    searching = f", {words.duration(moment.seconds)} of searching" if moment.seconds else ""
    return f"after epoch {moment.epoch:.0f}{searching}"


def offered(job: Job, search: Search, found: Beside | None) -> bool:
    """Whether a control may be asked for: of a search that has none, and did not fail."""
    return found is None and not is_control(search) and job.state not in controls.GONE
