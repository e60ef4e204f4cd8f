"""Running the service in this process: embedded, unless Redis says that workers are elsewhere."""

import errno
import ipaddress
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from threading import Event
from types import FrameType
from typing import NoReturn

import uvicorn
from fastapi import FastAPI

from api import terminal
from api.app import create_app
from api.leaving import announced
from core import bootstrap, tracing
from core.bootstrap import Container
from core.config import Settings
from core.embedded import embedded
from core.errors import Conflict
from core.execution import caches, collector, deliveries, mlflow_sender
from core.execution.sweeper import Sweeper

DRAIN_SECONDS = 20
# Longer than programs and pages wait between polls: else they connect anew each time, or ask on a
# connection that is just being closed. Proxies keep theirs for a minute.
KEEP_ALIVE_SECONDS = 65


def check_address(host: str, settings: Settings) -> None:
    """Raise ValueError for an address that strangers could reach."""
    if _is_loopback(host) or settings.auth == "keys" or settings.allow_unauthenticated_network:
        return
    raise ValueError(
        f"{host} can be reached from other machines, and nobody is asked who they are. Listen on "
        "127.0.0.1, ask for keys by HEADSTART_AUTH=keys, or set "
        "HEADSTART_ALLOW_UNAUTHENTICATED_NETWORK=true behind a proxy that asks."
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
    os.umask(0o077)  # data sets and models are their owner's, whatever the home folder allows
    bootstrap.configure_logging(settings.log_format)
    tracing.begin()
    signal.signal(signal.SIGTERM, _stop)  # uvicorn passes the signal on when it has drained
    try:
        with _container(settings) as container:
            shown = f"[{host}]" if ":" in host else host
            terminal.err.print(f"Headstart is at http://{shown}:{port}/", markup=False)
            app = create_app(container)
            app.router.lifespan_context = _letting_go
            uvicorn.run(
                app,
                host=host,
                port=port,
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=DRAIN_SECONDS,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
            )
    finally:
        tracing.end()


@asynccontextmanager
async def _letting_go(app: FastAPI) -> AsyncIterator[None]:
    """Who waits for news is answered as soon as the service is to stop: open streams would hold
    it for as long as they may. Nobody asks this one whether it is ready."""
    with announced(Event(), tell=app.state.watcher.leave, seconds=0):
        yield
    app.state.inference.close()


@contextmanager
def _container(settings: Settings) -> Iterator[Container]:
    if settings.redis_url is None:
        with embedded(settings) as container:
            yield container
        return
    container = bootstrap.build(settings)
    tidying = partial(caches.tidy, container.sessions, settings.home)
    tidier = Sweeper(tidying, seconds=collector.EVERY_SECONDS)
    tidier.start()
    try:
        with (
            deliveries.sending(settings, container.sessions),
            mlflow_sender.telling(settings, container.sessions, container.store),
        ):
            yield container
    finally:
        tidier.stop(patience=collector.STOP_SECONDS)
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
