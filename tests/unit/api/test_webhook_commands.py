"""Webhooks at the command line: what is told, shown once, sent again, and refused."""

import json
import re
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from core.bootstrap import Container
from core.domain.webhooks import EventType
from core.execution.deliveries import sending
from tests.fixtures.impostor import Impostor, answer
from tests.unit.api.conftest import Say
from tests.unit.api.test_webhooks import allowing, receiver

__all__ = ["allowing", "receiver"]

SECRET = re.compile(r"^whsec_[0-9A-Za-z+/=]+$", re.MULTILINE)
EVENT = "--event=job.queued"
URL = "https://hooks.example/in"


def told(say: Say, *words: str, status: str = "0") -> Any:
    ended, _, text = say("webhooks", *words, "--json").partition("\n")
    assert ended in {status, "None" if status == "0" else status}
    return json.loads(text)


@pytest.mark.usefixtures("allowing")
def test_a_secret_is_shown_once(say: Say) -> None:
    made = say("webhooks", "create", URL, EVENT, "--event", "job.failed", "--description", "ci")
    (secret,) = SECRET.findall(made)
    assert "not shown again" in made
    (hook,) = told(say, "list")["items"]
    assert (hook["url"], hook["events"], hook["description"]) == (
        URL, ["job.failed", "job.queued"], "ci",
    )  # fmt: skip
    shown = say("webhooks", "list")
    assert hook["id"] in shown
    rotated = say("webhooks", "rotate", hook["id"][:8])
    (other,) = SECRET.findall(rotated)
    assert other != secret
    assert told(say, "create", URL, EVENT)["secret"] not in say("webhooks", "list")
    for each in (secret, other):
        assert each not in shown + say("webhooks", "list")


@pytest.mark.usefixtures("allowing")
def test_a_webhook_is_changed_and_forgotten(say: Say, client: httpx.Client) -> None:
    hook = told(say, "create", URL, EVENT)["id"]
    changed = told(say, "update", hook, "--disable", "--event", "job.failed", "--url", f"{URL}/2")
    assert (changed["enabled"], changed["events"], changed["url"]) == (
        False, ["job.failed"], f"{URL}/2",
    )  # fmt: skip
    assert "off (asked)" in say("webhooks", "list")
    refused = say("webhooks", "test", hook)
    assert refused.startswith("1\n")
    assert "--enable" in refused
    assert "on" in say("webhooks", "update", hook, "--enable")
    assert say("webhooks", "delete", hook, "--yes") == "0\ndeleted\n"
    assert told(say, "list")["items"] == []
    gone = say("webhooks", "rotate", hook)
    assert gone.startswith("1\n")
    assert "`headstart webhooks list`" in gone


def test_a_message_is_sent_and_sent_again(
    say: Say, allowing: Container, receiver: Impostor
) -> None:
    url = f"{receiver.url}/in"
    made = told(say, "create", url, EVENT)
    hook, verify = made["id"], Webhook(made["secret"]).verify
    with sending(allowing.settings, allowing.sessions):
        assert say("webhooks", "test", hook).startswith("0\ndelivered: 204 in ")
        (first,) = told(say, "deliveries", hook)["items"]
        again = told(say, "redeliver", hook, first["id"])
        assert again["message_id"] == first["message_id"]
        assert [verify(each.body, each.headers)["type"] for each in receiver.heard] == [
            "webhook.test", "webhook.test",
        ]  # fmt: skip
        receiver.play = lambda _, connection: connection.sendall(answer(500))
        failed = told(say, "test", hook, status="1")
        assert (failed["state"], failed["attempts"][0]["status"]) == ("pending", 500)
    lines = say("webhooks", "deliveries", hook, "--state", "pending")
    assert failed["id"] in lines
    assert "status 500 in" in lines
    assert first["id"] not in lines
    assert len(told(say, "deliveries", hook, "--limit", "1")["items"]) == 1


@pytest.mark.usefixtures("allowing")
def test_what_cannot_be_is_said_with_what_can(say: Say) -> None:
    unsaid = say("webhooks", "create", URL)
    assert unsaid.startswith("2\n")
    assert all(each in unsaid.replace("\n", " ") for each in ("--event", EventType.JOB_QUEUED))
    hook = told(say, "create", URL, EVENT)["id"]
    assert say("webhooks", "update", hook).startswith("2\n")
    assert say("webhooks", "delete", hook, "--json").startswith("2\n")
    assert "url_not_allowed" in say("webhooks", "create", "http://hooks.example", EVENT)
    assert say("webhooks", "test", "nothing").startswith("1\n")


def test_an_operator_s_no_is_passed_on(say: Say) -> None:
    refused = say("webhooks", "create", URL, EVENT)
    assert refused.startswith("1\n")
    assert "HEADSTART_WEBHOOKS__ENABLED" in refused
