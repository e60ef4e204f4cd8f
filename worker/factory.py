"""Settings in, a Celery application out."""

from collections.abc import Sequence

from celery import Celery, signals

from core import bootstrap
from core.config import Settings
from core.domain.jobs import QueueName
from core.errors import InvalidInput
from core.execution.supervisor import CHILD_COMMAND
from core.queue.celery_queue import wire_settings
from worker import tasks
from worker.lifecycle import Lifecycle, attach
from worker.transport import AMQP


def create_app(settings: Settings, *, child_command: Sequence[str] = CHILD_COMMAND) -> Celery:
    """A Celery application whose messages are hints and whose jobs live in the database."""
    if not settings.redis_url:
        raise InvalidInput("A worker needs HEADSTART_REDIS_URL; the embedded mode has no workers.")
    app = Celery("headstart", broker=settings.redis_url, amqp=AMQP)
    app.conf.update(
        wire_settings(connect_seconds=2, answer_seconds=5),
        broker_transport="worker.transport:Transport",
        task_queues={queue.value: {} for queue in QueueName},
        task_create_missing_queues=False,  # a misspelt --queues must not wait for ever
        task_default_queue=QueueName.CPU.value,
        task_acks_late=False,  # the lease brings a job back, not the message
        worker_pool="solo",  # jobs run in children of the slots
        worker_concurrency=1,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_connection_retry_on_startup=True,
        broker_connection_retry=True,
        broker_connection_max_retries=None,
    )
    lifecycle = Lifecycle(settings, child_command=child_command)
    app.steps["worker"].add(attach(lifecycle))
    tasks.register(app, lifecycle)

    def set_up_logging(**_: object) -> None:
        bootstrap.configure_logging(settings.log_format)

    signals.setup_logging.connect(set_up_logging, weak=False)
    return app
