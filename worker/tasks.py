"""The one task: look for work."""

from celery import Celery

from core.queue.celery_queue import TASK
from worker.lifecycle import Lifecycle


def register(app: Celery, lifecycle: Lifecycle) -> None:
    """Teach the application its task."""

    @app.task(name=TASK, shared=False)  # type: ignore[untyped-decorator]
    def run(queue: str) -> None:  # noqa: ARG001 - any hint makes the slots look everywhere
        """Wake the slots, and take no further hint from other workers while all are busy."""
        lifecycle.look()
