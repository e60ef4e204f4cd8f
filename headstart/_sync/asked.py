"""What was asked for and takes a job: heard of until it has ended."""

from headstart._sync.jobs import Jobs
from headstart.bars import OnJob
from headstart.schema import JobView


class Asked:
    """`job` is its job as it was last heard of."""

    def __init__(self, id: str, job: JobView, jobs: Jobs) -> None:
        self.id = id
        self.job = job
        self._jobs = jobs

    def __repr__(self) -> str:
        return f"{type(self).__name__}(id={self.id!r}, state={self.job['state']!r})"

    def cancel(self) -> JobView:
        """Ask it to stop."""
        self.job = self._jobs.cancel(self.job["id"])
        return self.job

    def _end(self, timeout: float | None, progress: OnJob) -> None:
        self.job = self._jobs.wait(self.job["id"], timeout=timeout, progress=progress)
