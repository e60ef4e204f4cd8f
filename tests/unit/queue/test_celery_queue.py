"""A dead broker holds nobody up."""

import socket
import time
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from core.domain.jobs import JobId, QueueName
from core.errors import Unavailable
from core.queue.celery_queue import CeleryQueue


@pytest.fixture
def refusing() -> str:
    """The URL of a port where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"redis://127.0.0.1:{taken.getsockname()[1]}/0"


@pytest.mark.parametrize("silent", [False, True])
def test_an_absent_broker_costs_a_moment_and_a_log_line(refusing: str, silent: bool) -> None:
    with socket.socket() as mute:  # accepts, and never answers
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        url = f"redis://127.0.0.1:{mute.getsockname()[1]}/0" if silent else refusing
        queue = CeleryQueue(url)
        before = time.monotonic()
        with capture_logs() as lines:
            queue.announce(JobId(uuid4()), QueueName.CPU)
        assert time.monotonic() - before < 2.5
        assert [line["event"] for line in lines] == ["announce_failed"]
        queue.close()


def test_the_check_says_that_the_broker_is_away(refusing: str) -> None:
    queue = CeleryQueue(refusing)
    with pytest.raises(Unavailable):
        queue.check()
    queue.close()
