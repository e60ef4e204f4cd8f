"""Celery's way to Redis, made patient: neither garbage nor an absent server ends a worker."""

from queue import Empty
from typing import Any

import structlog
from celery.app import amqp
from kombu import connection
from kombu.transport import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

# Jobs start without Redis, by the workers' own looks: all there is to gain is hints again.
EVERY_FEW_SECONDS = {"interval_start": 1, "interval_step": 1, "interval_max": 5}

log = structlog.stdlib.get_logger(__name__)


class Channel(redis.Channel):
    """Drops what is not in the transport's own format; kombu would raise out of the worker."""

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            log.warning("message_dropped", reason=type(error).__name__)
            raise Empty from error

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        params = super()._connparams(asynchronous)  # type: ignore[no-untyped-call]
        # Celery tries again by itself; the client's own three tries would come on top of each.
        return {**params, "retry": Retry(NoBackoff(), 1)}


class Transport(redis.Transport):
    """The transport with that channel."""

    Channel = Channel


class Connection(connection.Connection):
    """Tries every few seconds; kombu's default grows to half a minute."""

    def _ensure_connection(self, *args: Any, **options: Any) -> Any:
        pace = {**EVERY_FEW_SECONDS, **options}
        return super()._ensure_connection(*args, **pace)  # type: ignore[no-untyped-call]


class AMQP(amqp.AMQP):  # type: ignore[misc]
    """Celery's messaging with that connection."""

    Connection = Connection
