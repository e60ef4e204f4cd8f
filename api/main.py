"""ASGI entry of the deployed service: `uvicorn --factory api.main:create`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from threading import Event

from fastapi import FastAPI

from api.app import create_app
from api.leaving import Farewell, announced
from core import bootstrap
from core.config import Settings


def create() -> FastAPI:
    """The application on what the environment says; the database is migrated beforehand."""
    settings = Settings()
    bootstrap.configure_logging(settings.log_format)
    container = bootstrap.build(settings)
    app = create_app(container)
    leaving = Event()
    app.add_middleware(Farewell, leaving=leaving)

    @asynccontextmanager
    async def closing(_: FastAPI) -> AsyncIterator[None]:
        with announced(leaving):
            yield
        container.close()

    app.router.lifespan_context = closing
    return app
