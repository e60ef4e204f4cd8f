"""Celery's Redis transport, except that a message which is none does not end the worker."""

from queue import Empty
from typing import Any

import structlog
from kombu.transport import redis

log = structlog.stdlib.get_logger(__name__)


class Channel(redis.Channel):
    """Drops what is not in the transport's own format; kombu would raise out of the worker."""

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            log.warning("message_dropped", reason=type(error).__name__)
            raise Empty from error


class Transport(redis.Transport):
    """The transport with that channel."""

    Channel = Channel
