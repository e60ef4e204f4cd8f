"""A sender that is killed between sending and noting: the message comes once more, as itself."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy import update

from core.config import Settings, WebhookSettings
from core.crash_points import VARIABLE
from core.db import schema
from core.db.clock import now
from core.db.sessions import Sessions
from core.db.webhook_tables import DeliveryRow
from core.domain.identity import DEFAULT
from core.domain.webhooks import DeliveryState, EventType
from core.services import webhooks
from core.services.sealing import Seal
from tests.fixtures.impostor import answer, impostor

ROOT = Path(__file__).parents[2]
SENDER = """
from core.config import Settings
from core.db.sessions import Sessions
from core.execution.courier import Courier
from core.execution.deliveries import Sender
from core.execution.reach import Reach
from core.services.sealing import Seal
settings = Settings()
Sender(Sessions(settings.database), Courier(Reach.of(settings), Seal(settings.secret_key))).empty()
"""


def test_a_killed_sender_sends_once_more(tmp_path: Path) -> None:
    key = "k" * 32
    told = {
        "HEADSTART_HOME": str(tmp_path),
        "HEADSTART_SECRET_KEY": key,
        "HEADSTART_WEBHOOKS__ENABLED": "true",
        "HEADSTART_WEBHOOKS__ALLOW_PRIVATE": "true",
    }

    def send(**more: str) -> int:
        command = [sys.executable, "-c", SENDER]
        ran = subprocess.run(command, env={**os.environ, **told, **more}, cwd=ROOT, check=False)
        return ran.returncode

    settings = Settings(home=tmp_path, secret_key=key, webhooks=WebhookSettings(enabled=True))
    schema.migrate(settings.database)
    sessions = Sessions(settings.database).within(DEFAULT)
    with impostor(lambda _, connection: connection.sendall(answer(200))) as receiver:
        with sessions.begin() as session:
            seal, events = Seal(SecretStr(key)), [EventType.JOB_FAILED]
            hook, _ = webhooks.create(
                session, url=f"{receiver.url}/", events=events, description="", seal=seal
            )
            webhooks.send_test(session, hook.id)
        assert send(**{VARIABLE: "before_note"}) == -signal.SIGKILL
        with sessions.begin() as session:
            session.execute(update(DeliveryRow).values(due_at=now(-1)))
        assert send() == 0
    with sessions.read() as session:
        ((delivery,), _) = webhooks.deliveries(session, hook.id, limit=2)
    sessions.dispose()
    assert {each.headers["webhook-id"] for each in receiver.heard} == {delivery.message_id}
    assert (len(receiver.heard), delivery.state) == (2, DeliveryState.DELIVERED)
    assert len(delivery.attempts) == 1
