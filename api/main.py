"""ASGI entry of the deployed service: `uvicorn --factory api.main:create`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from api.app import create_app
from core import bootstrap
from core.config import Settings


def create() -> FastAPI:
    """The application on what the environment says; the database is migrated beforehand."""
    settings = Settings()
    bootstrap.configure_logging(settings.log_format)
    container = bootstrap.build(settings)
    app = create_app(container)

    @asynccontextmanager
    async def closing(_: FastAPI) -> AsyncIterator[None]:
        yield
        container.close()

    app.router.lifespan_context = closing
    return app
