"""Running the service in this process: embedded, unless Redis says that workers are elsewhere."""

import errno
import ipaddress
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

import uvicorn

from api import terminal
from api.app import create_app
from core import bootstrap
from core.bootstrap import Container
from core.config import Settings
from core.embedded import embedded
from core.errors import Conflict

DRAIN_SECONDS = 20


def check_address(host: str, settings: Settings) -> None:
    """Raise ValueError for an address that strangers could reach."""
    if _is_loopback(host) or settings.allow_unauthenticated_network:
        return
    raise ValueError(
        f"{host} can be reached from other machines, and nobody is asked who they are. Listen on "
        "127.0.0.1, or set HEADSTART_ALLOW_UNAUTHENTICATED_NETWORK=true behind a proxy that asks."
    )


def check_free(host: str, port: int) -> None:
    """Raise Conflict when something listens there, before a home is opened and jobs start."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host.strip("[]"), port), family=family).close()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:  # the server itself says what else is wrong
            return
        raise Conflict(
            f"Port {port} is taken: stop what listens there, or choose another with --port.",
            code="port_taken",
        ) from error


def run(settings: Settings, *, host: str, port: int) -> None:
    """Serve until SIGINT or SIGTERM; running jobs are handed back, to be resumed next time."""
    bootstrap.configure_logging(settings.log_format)
    signal.signal(signal.SIGTERM, _stop)  # uvicorn passes the signal on when it has drained
    with _container(settings) as container:
        shown = f"[{host}]" if ":" in host else host
        terminal.err.print(f"Headstart is at http://{shown}:{port}/", markup=False)
        uvicorn.run(
            create_app(container),
            host=host,
            port=port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=DRAIN_SECONDS,
        )


@contextmanager
def _container(settings: Settings) -> Iterator[Container]:
    if settings.redis_url is None:
        with embedded(settings) as container:
            yield container
        return
    container = bootstrap.build(settings)
    try:
        yield container
    finally:
        container.close()


def _stop(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
