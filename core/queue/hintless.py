"""A queue without hints, for a process that only serves: workers find jobs by themselves."""

from core.domain.jobs import JobId, QueueName


class HintlessQueue:
    """Says nothing to nobody; the job row waits until a worker's next look."""

    def announce(self, job_id: JobId, queue: QueueName) -> None:
        """Do nothing."""

    def check(self) -> None:
        """There is nothing that could fail."""
