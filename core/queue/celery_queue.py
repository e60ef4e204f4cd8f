"""Job hints through Redis, in Celery's words: a task's name and a queue's, nothing to import."""

from typing import Any

import redis
import structlog
from celery import Celery
from kombu.exceptions import KombuError

from core.domain.jobs import JobId, QueueName
from core.errors import Unavailable

TASK = "jobs.run"
ANSWER_SECONDS = 1.0  # whoever announces is serving a request: a dead broker must not hold it up
# A hint means "look until nothing waits", so a pile of them says no more than a few do. Without a
# bound they would fill Redis for as long as jobs come and the workers are busy or away.
ENOUGH_HINTS = 1_000

log = structlog.stdlib.get_logger(__name__)


def wire_settings(*, connect_seconds: float, answer_seconds: float) -> dict[str, Any]:
    """What both ends of the wire must agree on: JSON only, and no silence without an end."""
    return {
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_ignore_result": True,
        "broker_transport_options": {
            "visibility_timeout": 3600,
            "socket_connect_timeout": connect_seconds,
            "socket_timeout": answer_seconds,
            "socket_keepalive": True,
            "health_check_interval": 25,
        },
    }


class CeleryQueue:
    """Rings for Celery workers; a failed ring is logged: the workers look by themselves too."""

    def __init__(self, redis_url: str) -> None:
        self._redis = redis.Redis.from_url(
            redis_url, socket_connect_timeout=ANSWER_SECONDS, socket_timeout=ANSWER_SECONDS
        )
        self._app = Celery("headstart", broker=redis_url, set_as_current=False)
        settings = wire_settings(connect_seconds=ANSWER_SECONDS, answer_seconds=ANSWER_SECONDS)
        self._app.conf.update(settings, task_publish_retry=False)

    def announce(self, job_id: JobId, queue: QueueName) -> None:
        """Tell the queue's workers that something waits."""
        try:
            # Asked first because a refusal is quick here; publishing would try for longer.
            if self._redis.llen(queue.value) < ENOUGH_HINTS:
                self._app.send_task(TASK, args=[queue.value], queue=queue.value)
        except (redis.RedisError, KombuError, OSError) as error:
            log.warning("announce_failed", job_id=str(job_id), reason=type(error).__name__)

    def check(self) -> None:
        """Raise Unavailable when Redis does not answer."""
        try:
            self._redis.ping()
        except redis.RedisError as error:
            raise Unavailable("The message broker does not answer.") from error

    def close(self) -> None:
        """Let the connections go."""
        self._redis.close()
        self._app.close()
