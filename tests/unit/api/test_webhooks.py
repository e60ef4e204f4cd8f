"""Webhooks over HTTP: a secret is shown once, and a message arrives that its holder believes."""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import httpx
import pytest
from pydantic import SecretStr
from standardwebhooks import Webhook

from core.bootstrap import Container
from core.config import WebhookSettings
from core.domain.identity import DEFAULT
from core.execution.deliveries import sending
from tests.fixtures.impostor import Impostor, answer, impostor
from tests.unit.api.conftest import Served
from tests.unit.services.samples import queued

HOOK = {"url": "https://hooks.example/in", "events": ["job.queued"]}
PATIENCE = 20.0


@pytest.fixture
def allowing(container: Container, client: httpx.Client, served: Served) -> Container:
    """The service of an operator who has turned webhooks on, for this machine too."""
    webhooks = WebhookSettings(enabled=True, allow_private=True)
    told = {"webhooks": webhooks, "secret_key": SecretStr("CANARY-key-" + "k" * 32)}
    made = replace(container, settings=container.settings.model_copy(update=told))
    served.app.state.container = made
    return made


@pytest.fixture
def receiver() -> Iterator[Impostor]:
    with impostor(lambda _, connection: connection.sendall(answer(204))) as made:
        yield made


def until(done: Callable[[], Any]) -> Any:
    """What it comes to."""
    end = time.monotonic() + PATIENCE
    while not (found := done()):
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.02)
    return found


def code(refused: httpx.Response) -> tuple[int, str]:
    return refused.status_code, refused.json()["code"]


def test_a_message_arrives(
    client: httpx.Client, allowing: Container, receiver: Impostor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    made = client.post("/v1/webhooks", json={**HOOK, "url": f"{receiver.url}/in"})
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
    hook = made.headers["location"]
    secret = made.json()["secret"]
    assert "secret" not in client.get(hook).json()
    with sending(allowing.settings, allowing.sessions):
        with allowing.sessions.within(DEFAULT).begin() as session:
            job = queued(session)
        (heard,) = until(lambda: receiver.heard)
        payload = Webhook(secret).verify(heard.body, heard.headers)
        assert (payload["type"], payload["data"]["id"]) == ("job.queued", str(job.id))
        (sent,) = until(lambda: listed(client, hook, "delivered"))
        assert sent["message_id"] == heard.headers["webhook-id"]
        assert [each["status"] for each in sent["attempts"]] == [204]

        rotated = client.post(f"{hook}:rotate").json()["secret"]
        again = client.post(f"{hook}/deliveries/{sent['id']}:redeliver")
        assert again.status_code == 202
        assert again.json()["payload"] == payload
        until(lambda: len(receiver.heard) == 2)
        for each in (secret, rotated):
            assert Webhook(each).verify(receiver.heard[1].body, receiver.heard[1].headers)
        assert receiver.heard[1].headers["webhook-id"] == sent["message_id"]
        until(lambda: client.get(again.headers["location"]).json()["state"] == "delivered")

        receiver.play = lambda _, connection: connection.sendall(answer(410))
        tested = client.post(f"{hook}:test")
        assert tested.json()["event"] == "webhook.test"
        until(lambda: client.get(tested.headers["location"]).json()["state"] == "failed")
    found = client.get(hook).json()
    assert (found["enabled"], found["disabled_reason"]) == (False, "gone")
    assert code(client.post(f"{hook}:test")) == (409, "webhook_off")
    assert client.patch(hook, json={"enabled": True}).json()["disabled_reason"] is None
    said = caplog.text + client.get("/metrics").text + client.get(f"{hook}/deliveries").text
    for canary in (secret, rotated, "CANARY", receiver.url):
        assert canary not in said
    assert 'headstart_webhook_attempts_total{outcome="delivered"}' in said


def listed(client: httpx.Client, hook: str, state: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get(f"{hook}/deliveries?state={state}").json()["items"]
    return found


def test_a_webhook_is_changed_and_deleted(client: httpx.Client, allowing: Container) -> None:
    hook = client.post("/v1/webhooks", json=HOOK).headers["location"]
    change = {"events": ["job.failed"], "description": "b", "url": "https://hooks.example/other"}
    assert change.items() <= client.patch(hook, json=change).json().items()
    assert client.patch(hook, json={}).json()["description"] == "b"
    assert client.post(f"{hook}:test").status_code == 202
    off = client.patch(hook, json={"enabled": False}).json()
    assert (off["enabled"], off["disabled_reason"]) == (False, "asked")
    assert [each["event"] for each in listed(client, hook, "cancelled")] == ["webhook.test"]
    assert [each["id"] for each in client.get("/v1/webhooks").json()["items"]] == [off["id"]]
    assert client.delete(hook).status_code == 204
    for method, path in (
        ("GET", hook),
        ("DELETE", hook),
        ("POST", f"{hook}:rotate"),
        ("POST", f"{hook}:test"),
        ("GET", f"{hook}/deliveries"),
        ("GET", f"{hook}/deliveries/{UUID(int=7)}"),
        ("POST", f"{hook}/deliveries/{UUID(int=7)}:redeliver"),
    ):
        assert code(client.request(method, path)) == (404, "not_found")
    assert code(client.patch(hook, json={"enabled": True})) == (404, "not_found")


def test_nothing_is_sent_unless_the_operator_says_so(client: httpx.Client) -> None:
    refused = client.post("/v1/webhooks", json=HOOK)
    assert code(refused) == (409, "webhooks_disabled")
    assert "HEADSTART_WEBHOOKS__ENABLED" in refused.json()["detail"]
    assert "HEADSTART_SECRET_KEY" in refused.json()["detail"]
    assert client.get("/v1/webhooks").json()["items"] == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"url": "https://169.254.169.254/latest"}, "url_not_allowed"),
        ({"url": "http://hooks.example/"}, "url_not_allowed"),
        ({"url": "https://user:word@hooks.example/"}, "url_not_allowed"),
        ({"url": "x" * 3_000}, "validation_error"),
        ({"events": []}, "validation_error"),
        ({"events": ["job.queued", "job.queued"]}, "validation_error"),
        ({"events": ["webhook.test"]}, "validation_error"),
        ({"description": "a\nb"}, "validation_error"),
        ({"secret": "mine"}, "validation_error"),
    ],
)
def test_a_body_is_strict(
    client: httpx.Client, allowing: Container, change: dict[str, Any], expected: str
) -> None:
    assert code(client.post("/v1/webhooks", json={**HOOK, **change})) == (422, expected)
    hook = client.post("/v1/webhooks", json=HOOK).headers["location"]
    assert code(client.patch(hook, json=change)) == (422, expected)
    assert code(client.patch(hook, json={"events": None})) == (422, "validation_error")
    assert client.get(hook).json()["events"] == ["job.queued"]
