"""Every way to start the service sends what webhooks are to be told, and what MLflow is."""

import asyncio
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from standardwebhooks import Webhook

from api import main, serving
from core import bootstrap, tracing
from core.bootstrap import Container
from core.config import MlflowSettings, Settings, WebhookSettings
from core.db.sessions import Sessions
from core.domain.identity import DEFAULT
from core.domain.webhooks import DeliveryState, EventType
from core.embedded import embedded
from core.services import webhooks
from core.services.sealing import Seal
from tests.fixtures.impostor import Impostor
from tests.fixtures.mlflow import Tracking, tracking
from tests.unit.api.test_webhooks import receiver, until
from tests.unit.services import ended

__all__ = ["receiver"]

KEY = "k" * 32
AWAY = "redis://127.0.0.1:1/0"  # hints are lost, and nothing else

Use = Callable[[Container], None]
Entry = Callable[[Settings, Use, pytest.MonkeyPatch], None]


def by_embedding(settings: Settings, use: Use, _: pytest.MonkeyPatch) -> None:
    with embedded(settings) as container:
        use(container)


def by_command(settings: Settings, use: Use, patch: pytest.MonkeyPatch) -> None:
    """`headstart serve`, but for the socket."""

    def served(app: FastAPI, **_: object) -> None:
        use(app.state.container)

    patch.setattr("uvicorn.run", served)
    patch.setattr(bootstrap, "configure_logging", lambda *_: None)
    patch.setattr("signal.signal", lambda *_: None)
    patch.setattr("os.umask", lambda _: None)
    serving.run(settings, host="127.0.0.1", port=0)


def by_command_in_a_cluster(settings: Settings, use: Use, patch: pytest.MonkeyPatch) -> None:
    by_command(settings.model_copy(update={"redis_url": AWAY}), use, patch)


def by_factory(settings: Settings, use: Use, patch: pytest.MonkeyPatch) -> None:
    """`uvicorn --factory api.main:create`, as the images do, but for the socket."""
    told = {"HOME": settings.home, "REDIS_URL": AWAY, "ZOO": "off", "SECRET_KEY": KEY}
    told |= {"WEBHOOKS__ENABLED": "true", "WEBHOOKS__ALLOW_PRIVATE": "true"}
    told["MLFLOW__TRACKING_URI"] = settings.mlflow.tracking_uri
    for name, value in told.items():
        patch.setenv(f"HEADSTART_{name}", str(value))
    patch.setattr(bootstrap, "configure_logging", lambda *_: None)
    patch.setattr(tracing, "begin", lambda: None)
    app = main.create()

    async def lives() -> None:
        async with app.router.lifespan_context(app):
            await asyncio.to_thread(use, app.state.container)

    asyncio.run(lives())


@pytest.fixture
def mlflow() -> Iterator[Tracking]:
    with tracking() as made:
        yield made


@pytest.fixture
def settings(migrated_sqlite: Path, tmp_path: Path, mlflow: Tracking) -> Settings:
    """Of a home where a search has ended that nobody was told of."""
    shutil.copy(migrated_sqlite, tmp_path / "headstart.db")
    on = WebhookSettings(enabled=True, allow_private=True)
    told = MlflowSettings(tracking_uri=mlflow.server.url)
    made = Settings(home=tmp_path, zoo=False, webhooks=on, secret_key=SecretStr(KEY), mlflow=told)
    sessions = Sessions(made.database)
    ended.cancelled(sessions.within(DEFAULT))
    sessions.dispose()
    return made


@pytest.mark.parametrize("entry", [by_embedding, by_command, by_command_in_a_cluster, by_factory])
def test_what_is_due_is_sent(
    entry: Entry,
    settings: Settings,
    receiver: Impostor,
    mlflow: Tracking,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def use(container: Container) -> None:
        mine = container.sessions.within(DEFAULT)
        with mine.begin() as session:
            hook, secret = webhooks.create(
                session,
                url=receiver.url,
                events=tuple(EventType),
                description="",
                seal=Seal(SecretStr(KEY)),
            )
            webhooks.send_test(session, hook.id)

        def delivered() -> bool:
            with mine.read() as session:
                ((sent,), _) = webhooks.deliveries(session, hook.id, limit=9)
            return sent.state is DeliveryState.DELIVERED

        until(delivered)
        (heard,) = receiver.heard
        assert Webhook(secret).verify(heard.body, heard.headers)["type"] == "webhook.test"
        until(
            lambda: [each for each in mlflow.runs.values() if each["info"]["status"] == "KILLED"]
        )

    entry(settings, use, monkeypatch)
    assert receiver.heard
