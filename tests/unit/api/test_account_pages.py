"""The account's pages: keys made, shown once and revoked, webhooks, and the audit log."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from core.config import WebhookSettings
from core.db.webhook_tables import DeliveryRow
from core.domain.webhooks import Attempt, DeliveryState, Fault
from tests.unit.api.keyed import Keyed, keyed
from tests.unit.api.test_identity_login import cookie, token
from tests.unit.services.samples import queued

KEY = re.compile(r"hs_[0-9A-Za-z]{8}_[0-9A-Za-z]{43}_[0-9A-Za-z]{6}")
HOOK = {"url": "https://hooks.example/in", "events": ["job.queued", "job.failed"]}


@pytest.fixture(scope="module")
def service(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    told: dict[str, Any] = {
        "webhooks": WebhookSettings(enabled=True),
        "secret_key": SecretStr("k" * 40),
    }
    yield from keyed(migrated_sqlite, tmp_path_factory.mktemp("keyed"), **told)


class Reader:
    """A browser that has logged in with a key."""

    def __init__(self, service: Keyed, by: str) -> None:
        self._service = service
        self._known = cookie(service, by)
        self._token = token(service, self._known)

    def get(self, path: str) -> httpx.Response:
        return self._service.ask("GET", path, headers=self._known)

    def send(self, path: str, **form: object) -> httpx.Response:
        signed = f"{path}?csrf={self._token}"
        return self._service.ask("POST", signed, headers=self._known, data=form)


@pytest.fixture(scope="module")
def admin(service: Keyed) -> Reader:
    return Reader(service, "admin")


def test_a_key_is_shown_once_and_ends_when_it_is_revoked(service: Keyed, admin: Reader) -> None:
    made = admin.send("/account/keys", name="<b>nightly</b>", scope="read", days="30")
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
    (text,) = set(KEY.findall(made.text))
    assert "<b>nightly" not in made.text
    assert '<script src="/static/copy.js" defer>' in made.text
    bearer = {"Authorization": f"Bearer {text}"}
    me = service.ask("GET", "/v1/me", headers=bearer).json()
    assert me["scope"] == "read"
    listed = admin.get("/account/keys").text
    assert KEY.findall(listed) == []
    assert me["key_id"] in listed
    assert "(yours)" in listed
    done = admin.send(f"/account/keys/{me['key_id']}/revoke")
    assert (done.status_code, done.headers["location"]) == (303, "/account/keys")
    service.app.state.recogniser.forget(text)
    assert service.ask("GET", "/v1/me", headers=bearer).json()["code"] == "key_revoked"
    log = admin.get("/account/audit").text
    assert f"/account/keys/{me['key_id']}/revoke" in log
    assert text not in log


def test_keys_are_the_administrators_own(service: Keyed, admin: Reader) -> None:
    for by in ("read", "write"):
        reader = Reader(service, by)
        for path in ("/account/keys", "/account/audit"):
            assert reader.get(path).status_code == 403
        assert reader.send("/account/keys", name="mine").status_code == 403
        assert reader.get("/account").headers["location"] == "/account/webhooks"
        page = reader.get("/account/webhooks").text
        assert "/account/audit" not in page
        assert ("Add a webhook" in page) == (by == "write")
    assert admin.get("/account").headers["location"] == "/account/keys"
    other = service.keys["other"].split("_")[1]
    assert admin.send(f"/account/keys/{other}/revoke").status_code == 404
    assert other not in admin.get("/account/keys").text
    assert admin.send("/account/keys", name="").status_code == 422
    unsigned = service.ask(
        "POST", "/account/keys", headers=cookie(service, "admin"), data={"name": "x"}
    )
    assert unsigned.status_code == 403


def test_where_nobody_is_asked_the_page_says_how_to_ask(browser: httpx.Client) -> None:
    page = browser.get("/account/keys").text
    assert "Nobody is asked for a key on this machine." in page
    assert "HEADSTART_AUTH=keys" in page
    hooks = browser.get("/account/webhooks").text
    assert "HEADSTART_WEBHOOKS__ENABLED=true" in hooks
    assert "Add a webhook" not in hooks
    refused = browser.post("/account/webhooks", data=HOOK)
    assert refused.status_code == 409
    assert "webhooks_disabled" in refused.text


def test_a_webhook_from_its_first_day_to_its_last(service: Keyed, admin: Reader) -> None:
    made = admin.send("/account/webhooks", **HOOK)
    assert made.status_code == 201
    (secret,) = re.findall(r">(whsec_[^<]+)<", made.text)
    (page,) = set(re.findall(r'action="(/account/webhooks/[0-9a-f-]{36})/rotate', made.text))
    shown = admin.get(page).text
    assert secret not in shown
    assert "job.failed, job.queued" in shown
    assert page in admin.get("/account/webhooks").text
    assert admin.send(f"{page}/test").headers["location"] == page
    with service.mine.sessions.begin() as session:
        queued(session)
        row = session.query(DeliveryRow).filter_by(event="webhook.test").one()
        failed = Attempt(row.created_at, 10.0, None, Fault.TIMEOUT)
        row.attempts, row.state = (failed,), DeliveryState.FAILED
        sent = row.id
    told = admin.get(page).text
    assert "1, the last: timeout" in told
    assert "job.queued" in told
    again = f"{page}/deliveries/{sent}/redeliver"
    assert told.count("/redeliver?") == 1
    assert admin.send(again).status_code == 303
    assert admin.get(page).text.count("webhook.test") == 2
    rotated = admin.send(f"{page}/rotate").text
    assert "whsec_" in rotated
    assert secret not in rotated
    assert "signs along until" in rotated
    assert admin.send(f"{page}/enabled", enabled="false").status_code == 303
    assert "off: asked" in admin.get(page).text
    assert admin.send(again).status_code == 409
    assert admin.send(f"{page}/enabled", enabled="true").status_code == 303
    assert "off: asked" not in admin.get(page).text
    assert Reader(service, "other").get(page).status_code == 404
    assert admin.send(f"{page}/delete").headers["location"] == "/account/webhooks"
    assert admin.get(page).status_code == 404


def test_a_webhook_that_cannot_be_is_refused_by_field(admin: Reader) -> None:
    none = admin.send("/account/webhooks", url="https://hooks.example/in")
    assert (none.status_code, "events" in none.text) == (422, True)
    inside = admin.send("/account/webhooks", **{**HOOK, "url": "https://169.254.169.254/"})
    assert (inside.status_code, "url_not_allowed" in inside.text) == (422, True)
