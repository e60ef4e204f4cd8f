"""What must be true of a group and its children, by their rows and their last events."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from uuid import UUID

from core.db.job_tables import JobEventRow, JobRow
from core.domain.jobs import TERMINAL, JobKind, JobState

UNLUCKY = re.compile(r"(\d+) of (\d+) jobs did not succeed: ")


def faults(
    rows: Mapping[UUID, JobRow], events: Mapping[UUID, Sequence[JobEventRow]]
) -> Iterator[tuple[UUID, str]]:
    """Every group that did not end with its last child, or says of them what is not so."""
    children: dict[UUID, list[JobRow]] = {
        row.id: [] for row in rows.values() if row.kind is JobKind.GROUP
    }
    for row in rows.values():
        if row.parent_id is None:
            continue
        if row.parent_id in children:
            children[row.parent_id].append(row)
        else:
            yield row.id, f"its parent {row.parent_id} is no group"
    for group_id, theirs in children.items():
        group = rows[group_id]
        for words in (*_moment(group, theirs, events), *_verdict(group, theirs)):
            yield group_id, words


def _moment(
    group: JobRow, children: Sequence[JobRow], events: Mapping[UUID, Sequence[JobEventRow]]
) -> Iterator[str]:
    unfinished = sum(each.state not in TERMINAL for each in children)
    if group.state not in TERMINAL:
        if not unfinished:
            yield f"is {group.state}, and all its {len(children)} children have ended"
        return
    if unfinished:
        yield f"has {group.state}, and {unfinished} of its children have not ended"
        return
    last = {
        each: events[each][-1].at
        for each in (group.id, *(c.id for c in children))
        if each in events
    }
    late = [each for each, at in last.items() if at > last.get(group.id, at)]
    if late:
        yield f"ended before its children did: {late[0]}"


def _verdict(group: JobRow, children: Sequence[JobRow]) -> Iterator[str]:
    count = len(children)
    bad = sum(each.state is not JobState.SUCCEEDED for each in children)
    if group.state is JobState.SUCCEEDED:
        if bad:
            yield f"has succeeded, {bad} of its {count} children have not"
        if group.result != {"jobs": count}:
            yield f"says {group.result}, has {count} children"
    if group.state is JobState.FAILED:
        said = UNLUCKY.match(group.error_message or "")
        if said is None or (int(said[1]), int(said[2])) != (bad, count):
            yield f"says '{group.error_message}', {bad} of {count} did not succeed"
    if group.state is JobState.CANCELLED and not group.cancel_requested:
        yield "is cancelled, and nobody asked for it"
    cost = sum(each.cost_seconds for each in children)
    if group.state in TERMINAL and not math.isclose(group.cost_seconds, cost, abs_tol=1e-6):
        yield f"cost {group.cost_seconds} s, its children {cost} s"
