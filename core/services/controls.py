"""The control of a search: the same from random weights, beside which a head start shows."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db import types
from core.db.job_tables import JobRow
from core.db.result_tables import SearchRow
from core.domain.jobs import JobState
from core.domain.searches import Search, SearchSpec, SpaceSpec, StartPolicy, TradeOffs
from core.nas.space import Space
from core.services import searches, wire

MOST = 50  # searches that are looked through
GONE = (JobState.FAILED, JobState.CANCELLED)

Start = Mapping[str, Any] | None


def of(spec: SearchSpec, start: Start = None) -> SearchSpec:
    """The same search from nothing: in the space of its `start`, once that is known."""
    bare = replace(spec, policy=StartPolicy.COLD, supernet_id=None, adapt=False, contribute=False)
    return replace(bare, space=_searched(spec, start))


def beside(session: Session, search: Search) -> Search | None:
    """The newest search from nothing on the same images with the same settings that has not
    failed; of one from nothing, the newest that it is the control of."""
    spec: SearchSpec = wire.load(SearchSpec, search.spec)
    cold = spec.policy is StartPolicy.COLD
    row, policy = SearchRow, types.word(SearchRow.spec, "policy")
    others = (
        select(row.job_id, row.spec, row.start)
        .join(JobRow, JobRow.id == row.job_id)
        .where(row.dataset_id == search.dataset_id, JobRow.state.not_in(GONE))
        .where(policy != StartPolicy.COLD if cold else policy == StartPolicy.COLD)
        .order_by(row.created_at.desc(), row.id)
        .limit(MOST)
    )
    for job_id, document, start in session.execute(others):
        other: SearchSpec = wire.load(SearchSpec, document)
        if _controls(spec, other, start) if cold else _controls(other, spec, search.start):
            return searches.by_job(session, job_id)
    return None


def alike(control: Search, search: Search) -> bool:
    """Whether the one from nothing was asked for as the other was, but for the start."""
    cold, warm = (wire.load(SearchSpec, each.spec) for each in (control, search))
    return _controls(cold, warm, search.start)


def _controls(control: SearchSpec, warm: SearchSpec, start: Start) -> bool:
    spaces = (warm.space, _searched(warm, start))
    return _settings(control) == _settings(warm) and control.space in spaces


def _settings(spec: SearchSpec) -> SearchSpec:
    """What has to be alike: all but the start and what leaves no trace in the figures."""
    return of(
        replace(
            spec, embedder="", space=SpaceSpec(), objectives=(), trade_offs=TradeOffs.NSGA2,
            labels={}, deadline=None,
        )
    )  # fmt: skip


def _searched(spec: SearchSpec, start: Start) -> SpaceSpec:
    if not start or "space" not in start:
        return spec.space
    space, resolution = Space.from_dict(start["space"]), start.get("resolution")
    known = space.channels, space.layers, space.nodes
    return SpaceSpec(*known, resolution=resolution or spec.space.resolution, cells=space.cells)
