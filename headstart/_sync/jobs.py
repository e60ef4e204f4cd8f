"""Jobs: looked at, waited for, told of as they go, cancelled."""

import builtins
import math
from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic
from typing import NamedTuple, Unpack

import httpx
from httpx_sse import EventSource, SSEError

from headstart import bars, operations
from headstart._sync import running
from headstart._sync.connection import OUTAGE, Connection, address, parsed
from headstart.bars import OnJob
from headstart.events import Event
from headstart.patience import Patience
from headstart.problems import JobCancelled, JobFailed, Problem, Timeout, Unreachable
from headstart.schema import (
    EventView,
    JobsListQuery,
    JobView,
    LogLineView,
    ProblemDetailView,
    RecordView,
)

WAIT = 20.0  # seconds that the server may take while there is no news
PAUSE = 1.0  # seconds from one look to the next, at least: of what runs there always is news
SILENCE = httpx.Timeout(30.0, read=60.0)  # a stream says something every 15 seconds


class _Look(NamedTuple):
    job: JobView
    tag: str | None
    waited: bool  # whether the server did, for news


class Jobs:
    """`client.jobs`."""

    def __init__(self, connection: Connection) -> None:
        self._at = connection

    def get(self, job_id: str) -> JobView:
        """A job as it stands."""
        job: JobView = self._at.json(operations.JOBS_GET, ids={"job_id": job_id})
        return job

    def list(self, **query: Unpack[JobsListQuery]) -> Iterator[JobView]:
        """Jobs, newest first, fetched page by page as they are read."""
        return self._at.listed(operations.JOBS_LIST, query)

    def cancel(self, job_id: str) -> JobView:
        """Ask a job to stop; it does within ten seconds, and never succeeds afterwards."""
        job: JobView = self._at.json(operations.JOBS_CANCEL, ids={"job_id": job_id})
        return job

    def records(self, job_id: str, *, stage: str | None = None) -> Iterator[RecordView]:
        """The history of a job, a line an epoch."""
        return self._at.listed(operations.JOBS_RECORDS, {"stage": stage}, ids={"job_id": job_id})

    def events(self, job_id: str) -> Iterator[EventView]:
        """Every move of a job from state to state, and why."""
        return self._at.listed(operations.JOBS_EVENTS, {}, ids={"job_id": job_id})

    def logs(self, job_id: str) -> Iterator[LogLineView]:
        """What workers said of a job while they computed it."""
        return self._at.listed(operations.JOBS_LOGS, {}, ids={"job_id": job_id})

    def wait(
        self, job_id: str, *, timeout: float | None = None, progress: OnJob = None
    ) -> JobView:
        """How a job ended, once it has: through restarts of the server, and outages of ten
        minutes. `progress` hears of the job whenever it changed; True shows a bar.

        Raises JobFailed, JobCancelled, and Timeout after `timeout` seconds, when the job goes on.
        """
        with bars.following(progress) as told:
            job = self._ended(job_id, timeout, told)
        if job["state"] == "failed":
            raise JobFailed(job, self._findings(job))
        if job["state"] == "cancelled":
            raise JobCancelled(job)
        return job

    def _ended(self, job_id: str, timeout: float | None, told: bars.Told) -> JobView:
        left = seconds = math.inf if timeout is None else timeout
        over, before = monotonic() + seconds, None
        while True:
            asked = monotonic()
            try:
                look = self._look(job_id, before, left)
            except Problem as problem:
                if left >= OUTAGE or not problem.passing:
                    raise
                raise _late(job_id, seconds) from problem
            if before is None or look.job != before.job:
                told(look.job)
            if look.job["poll_after_ms"] is None:
                return look.job
            if before is not None:
                # Of what runs there always is news; who did not wait says how soon to ask again.
                least = PAUSE if look.waited else look.job["poll_after_ms"] / 1000
                running.sleep(max(0.0, min(least, left) - (monotonic() - asked)))
            left = over - monotonic()
            if left <= 0:
                raise _late(job_id, seconds)
            before = look

    def _look(self, job_id: str, before: _Look | None, left: float) -> _Look:
        headers, wait = {}, 0
        if before is not None and before.tag is not None:
            wait = max(1, int(min(left, WAIT)))
            headers = {"If-None-Match": before.tag, "Prefer": f"wait={wait}"}
        own = self._at.timeout
        answer = self._at.call(
            operations.JOBS_GET,
            ids={"job_id": job_id},
            headers=headers,
            retry_for=min(left, OUTAGE),
            timeout=httpx.Timeout(own, read=own + wait),
        )
        waited = "preference-applied" in answer.headers
        if before is not None and answer.status_code == httpx.codes.NOT_MODIFIED:
            return _Look(before.job, before.tag, waited)
        return _Look(parsed(answer), answer.headers.get("etag"), waited)

    def _findings(self, job: JobView) -> builtins.list[ProblemDetailView]:
        """What was wrong with an upload, all of it."""
        if job["kind"] != "ingest":
            return []
        found = [each for each in self.records(job["id"], stage="refusal")]
        return [each for record in found for each in record["values"]["findings"]]

    def stream(self, job_id: str, *, after: str | None = None) -> Iterator[Event]:
        """What happens to a job as it happens: `move`, `record`, `job`, and at last `end`.

        Goes on where it was when the connection breaks; `after` is the `id` of an event that was
        the last to be heard earlier. Of records of one stage and step the last one counts.
        """
        path = address(operations.JOBS_STREAM, job_id=job_id)
        patience = Patience(OUTAGE)
        while True:
            headers = {
                "Accept": "text/event-stream",
                **({"Last-Event-ID": after} if after else {}),
            }
            problem: Problem = Unreachable("The stream ended before the job did.")
            try:
                with self._at.opened("GET", path, headers=headers, timeout=SILENCE) as answer:
                    if answer.status_code == httpx.codes.NO_CONTENT:
                        return
                    for heard in EventSource(answer).iter_sse():
                        patience.renew()
                        if not heard.data:  # a comment, after something with an id
                            continue
                        after = heard.id or after
                        yield Event(after, heard.event, heard.json())
                        if heard.event == "end":
                            return
            except SSEError as error:
                raise Problem("That is no stream of events.", code="bad_answer") from error
            except Problem as broken:
                if not broken.passing:
                    raise
                problem = broken
            running.sleep(patience.pause(problem))


@dataclass(frozen=True, slots=True)
class Job:
    """A job that was asked for: `view` is how it stood then."""

    view: JobView
    jobs: Jobs

    @property
    def id(self) -> str:
        """Names it everywhere."""
        return self.view["id"]

    def wait(self, *, timeout: float | None = None, progress: OnJob = None) -> JobView:
        """How it ended, once it has. Raises JobFailed, JobCancelled, Timeout."""
        return self.jobs.wait(self.id, timeout=timeout, progress=progress)

    def cancel(self) -> JobView:
        """Ask it to stop."""
        return self.jobs.cancel(self.id)

    def stream(self) -> Iterator[Event]:
        """What happens to it as it happens."""
        return self.jobs.stream(self.id)


def _late(job_id: str, seconds: float) -> Timeout:
    return Timeout(f"Job {job_id} has not ended after {seconds:g} seconds; it goes on.")
