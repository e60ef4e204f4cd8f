"""ASGI entry of the deployed service: `uvicorn --factory api.main:create`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from threading import Event

from fastapi import FastAPI

from api import requests
from api.app import create_app
from api.leaving import Farewell, announced
from core import bootstrap, tracing
from core.config import Settings
from core.execution import caches, collector, deliveries, mlflow_sender
from core.execution.sweeper import Sweeper


def create() -> FastAPI:
    """The application on what the environment says; the database is migrated beforehand."""
    settings = Settings()
    bootstrap.configure_logging(settings.log_format)
    tracing.begin()
    if settings.log_format == "json":
        requests.take_over_logs()
    container = bootstrap.build(settings)
    app = create_app(container)
    leaving = Event()
    app.add_middleware(Farewell, leaving=leaving)

    @asynccontextmanager
    async def closing(_: FastAPI) -> AsyncIterator[None]:
        tidier = Sweeper(
            partial(caches.tidy, container.sessions, settings.home),
            seconds=collector.EVERY_SECONDS,
        )
        tidier.start()
        with (
            deliveries.sending(settings, container.sessions),
            mlflow_sender.telling(settings, container.sessions, container.store),
            announced(leaving, tell=app.state.watcher.leave),
        ):
            yield
        app.state.inference.close()
        tidier.stop(patience=collector.STOP_SECONDS)
        container.close()
        tracing.end()  # the server ends by the signal that it got: nothing runs after this

    app.router.lifespan_context = closing
    return app
