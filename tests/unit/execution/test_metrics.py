"""How the queues stand, by either database."""

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from core.db.clock import now
from core.db.dataset_tables import DatasetRow
from core.db.job_tables import JobRow
from core.db.sessions import Sessions
from core.domain.jobs import JobKind, JobState, QueueName
from core.execution.metrics import standing
from tests.unit.services.samples import dataset, queued, running

CPU, GPU = QueueName.CPU, QueueName.GPU


def test_an_empty_installation_stands_at_zero(sessions: Sessions) -> None:
    with sessions.read() as session:
        found = standing(session)
    zero = {CPU: 0, GPU: 0}
    assert (found.depths, found.oldest, found.running, found.stored_bytes) == (zero, zero, zero, 0)


def test_jobs_are_counted_where_they_wait_and_run(sessions: Sessions) -> None:
    running(sessions)
    with sessions.begin() as session:
        dataset(session)
        session.execute(update(DatasetRow).values(size_bytes=2**40))
        for kind in (JobKind.EMBED, JobKind.EMBED, JobKind.SEARCH, JobKind.GROUP):
            queued(session, kind=kind)
        at = session.scalar(select(now()))
        waits = update(JobRow).where(JobRow.state == JobState.QUEUED)
        session.execute(waits.values(not_before=at - timedelta(seconds=90)))
        late = waits.where(JobRow.kind == JobKind.SEARCH)
        session.execute(late.values(not_before=at + timedelta(hours=1)))  # may not run yet
    with sessions.read() as session:
        found = standing(session)
    assert found.depths == {CPU: 2, GPU: 1}
    assert found.running == {CPU: 1, GPU: 0}
    assert found.oldest == {CPU: pytest.approx(90, abs=30), GPU: 0}
    assert found.stored_bytes == 2**40
