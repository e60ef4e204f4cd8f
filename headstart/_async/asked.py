"""What was asked for and takes a job: heard of until it has ended."""

from headstart._async.jobs import AsyncJobs
from headstart.bars import OnJob
from headstart.schema import JobView


class AsyncAsked:
    """`job` is its job as it was last heard of."""

    def __init__(self, id: str, job: JobView, jobs: AsyncJobs) -> None:
        self.id = id
        self.job = job
        self._jobs = jobs

    def __repr__(self) -> str:
        return f"{type(self).__name__}(id={self.id!r}, state={self.job['state']!r})"

    async def cancel(self) -> JobView:
        """Ask it to stop."""
        self.job = await self._jobs.cancel(self.job["id"])
        return self.job

    async def _end(self, timeout: float | None, progress: OnJob) -> None:
        self.job = await self._jobs.wait(self.job["id"], timeout=timeout, progress=progress)
