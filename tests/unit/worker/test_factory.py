"""The settings that the job protocol rests on, and how a worker waits for its broker."""

import socket
import time
from pathlib import Path

import pytest
from celery import Celery

from core.config import Settings
from core.errors import InvalidInput
from worker.factory import create_app


def app_of(tmp_path: Path, url: str = "redis://127.0.0.1:1/0") -> Celery:
    return create_app(Settings(home=tmp_path, redis_url=url))


@pytest.fixture
def app(tmp_path: Path) -> Celery:
    return app_of(tmp_path)


def test_the_message_is_a_hint_and_the_row_is_the_truth(app: Celery) -> None:
    said = {
        "task_acks_late": False,  # a message that came back would bring back nothing
        "task_ignore_result": True,
        "result_backend": None,
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": True,
        "worker_concurrency": 1,
        "worker_pool": "solo",
        "task_time_limit": None,
        "task_soft_time_limit": None,
        "worker_enable_remote_control": False,
        "worker_send_task_events": False,
        "task_create_missing_queues": False,
    }
    assert {name: app.conf[name] for name in said} == said
    assert set(app.conf.task_queues) == {"cpu", "gpu"}


def test_only_json_is_read(app: Celery) -> None:
    assert app.conf.task_serializer == "json"
    assert list(app.conf.accept_content) == ["json"]


def test_a_silent_socket_does_not_hold_for_ever(app: Celery) -> None:
    options = app.conf.broker_transport_options
    assert 0 < options["socket_connect_timeout"] <= 5
    assert 0 < options["socket_timeout"] <= 10
    assert options["socket_keepalive"] is True


def test_the_task_is_the_only_one_of_ours(app: Celery) -> None:
    assert [name for name in app.tasks if not name.startswith("celery.")] == ["jobs.run"]


def test_a_worker_needs_a_broker_to_be_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="HEADSTART_REDIS_URL"):
        create_app(Settings(home=tmp_path))


class Enough(Exception):
    """Ends what would go on for ever."""


@pytest.mark.parametrize("silent", [False, True])
def test_the_broker_is_tried_every_few_seconds_without_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silent: bool
) -> None:
    waits: list[float] = []
    slept: list[float] = []

    def failed(error: Exception, interval: float) -> None:
        waits.append(interval)
        if len(waits) == (2 if silent else 300):
            raise Enough

    with socket.socket() as taken:  # bound: nobody else gets the port
        taken.bind(("127.0.0.1", 0))
        if silent:
            taken.listen()
        app = app_of(tmp_path, f"redis://127.0.0.1:{taken.getsockname()[1]}/0")
        app.conf.broker_transport_options |= {"socket_timeout": 0.2, "socket_connect_timeout": 0.2}
        monkeypatch.setattr("kombu.utils.functional.sleep", slept.append)
        before = time.monotonic()
        with app.connection_for_read() as connection, pytest.raises(Enough):
            connection.ensure_connection(failed, app.conf.broker_connection_max_retries)
        tries = time.monotonic() - before
    assert max(waits) <= 5
    # A try is at most two goes at the socket: with the real time-outs, two times two seconds.
    assert not silent or tries < 2 * 2 * (0.2 + 0.2) + 1
