"""The one task: look for work."""

from celery import Celery

from core.domain.jobs import QueueName
from core.queue.celery_queue import TASK
from worker.lifecycle import Lifecycle


def register(app: Celery, lifecycle: Lifecycle) -> None:
    """Teach the application its task."""

    @app.task(name=TASK)  # type: ignore[untyped-decorator]
    def run(queue: str) -> None:
        """Claim any job that waits in the queue; a hint that comes late or twice finds none."""
        lifecycle.supervisor.run_next(QueueName(queue))
