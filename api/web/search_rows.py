"""What the page of a search's job shows beside that of any: its control, its guard, its race."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup
from sqlalchemy.orm import Session

from api.web import control_rows, guard_rows, live_charts, metrics, race_rows
from core.domain.jobs import Job, JobKind, JobRecord
from core.domain.searches import Search


def shown(
    session: Session, job: Job, search: Search | None, records: Sequence[JobRecord]
) -> dict[str, Any]:
    """The charts of any job's epochs, and of a search all that is known of it so far."""
    found, rates = live_charts.stages(records), metrics.sequence(job.spec.get("learning_rates"))
    other = None if search is None else control_rows.beside(session, search, records)
    expected = () if job.finished else live_charts.expected(job)
    bracket = race_rows.drawn(records)
    return {
        "sections": live_charts.sections(
            found,
            rates=rates,
            expected=expected,
            beside=None if other is None else (other.name, other.stages),
        ),
        "beside": other,
        "control_offered": search is not None and control_rows.offered(job, search, other),
        "guard": _guard(job, found.get("search", {}), rates),
        "race": race_rows.running(records),
        "bracket": None if bracket is None else Markup(bracket),
    }


def _guard(job: Job, arms: live_charts.Arms, rates: Sequence[Any]) -> dict[str, Any] | None:
    awaited = "search" in live_charts.expected(job) and not job.finished
    if job.kind is not JobKind.SEARCH or not (arms or awaited):
        return None
    config = guard_rows.config(job.spec)
    most = None if config is None else config.max_skips
    newest = [*arms.values()][-1] if arms else ()
    return {
        "charts": live_charts.watched(arms, rates=rates, most_skips=most),
        "rule": guard_rows.rule(config),
        "verdict": guard_rows.verdict(config, newest),
    }
