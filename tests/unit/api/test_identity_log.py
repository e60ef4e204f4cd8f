"""What is kept of requests, what is never kept, and how many are taken."""

import asyncio
import io
import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from api.app import create_app
from api.buckets import MOST, Buckets
from core import bootstrap
from core.bootstrap import Container
from core.config import RateLimits, Settings
from core.db.base import Base
from core.domain.identity import DEFAULT, AuditEntry
from core.services import api_keys, audit
from tests.unit.api import scenes
from tests.unit.api.keyed import Keyed, addresses, keyed
from tests.unit.api.test_requests import log

__all__ = ["log"]

PAGE = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}


@pytest.fixture(scope="module")
def service(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    yield from keyed(migrated_sqlite, tmp_path_factory.mktemp("keyed"))


def kept(service: Keyed) -> tuple[AuditEntry, ...]:
    with service.container.sessions.read() as session:
        return audit.listing(session, project_id=None, limit=1_000)[0]


def test_what_changes_something_is_kept(service: Keyed) -> None:
    job = scenes.running(service.mine, scenes.dataset(service.mine, "kept"))
    path = f"/v1/jobs/{job.id}:cancel"
    before = len(kept(service))
    headers = {"X-Request-Id": "mine-1"}
    assert service.ask("POST", path, "write", headers=headers).status_code == 202
    assert service.ask("POST", path, "read").status_code == 403
    assert service.ask("POST", path).status_code == 401
    assert service.ask("POST", f"/v1/jobs/{uuid4()}:cancel", "write").status_code == 404
    assert service.ask("GET", f"/v1/jobs/{job.id}", "write").status_code == 200
    assert service.ask("GET", f"/v1/jobs/{job.id}").status_code == 401
    reader, writer = kept(service)[: len(kept(service)) - before]
    assert (writer.action, writer.target, writer.status) == ("jobs_cancel", path, 202)
    assert (writer.actor, writer.project_id) == (service.keys["write"].split("_")[1], DEFAULT)
    assert (writer.request_id, writer.address) == ("mine-1", "127.0.0.1")
    assert (reader.actor, reader.status) == (service.keys["read"].split("_")[1], 403)
    assert reader.action == "POST"  # nobody looked which route it was


def rows(container: Container) -> dict[str, int]:
    with container.sessions.read() as session:
        counted = {
            each.name: session.scalar(text(f"SELECT count(*) FROM {each.name}"))
            for each in Base.metadata.sorted_tables
        }
    return {name: int(number or 0) for name, number in counted.items()}


def test_nobody_without_a_key_can_grow_the_database(service: Keyed) -> None:
    login = service.ask("POST", "/login", data={"key": service.keys["write"]}, headers=PAGE)
    known = PAGE | {"Cookie": login.headers["set-cookie"].partition(";")[0]}
    before = rows(service.container)
    with capture_logs() as lines:
        for by in ("none", "malformed", "wrong", "revoked", "expired"):
            for method, path in addresses(service.app):
                service.ask(method, path, by, headers={"X-Request-Id": "stranger-1"})
            form = {"key": service.keys[by]}
            assert service.ask("POST", "/login", data=form, headers=PAGE).status_code == 401
        far = {"Origin": "https://evil.example"}
        assert service.ask("POST", "/login", headers=far).status_code == 403
        assert service.ask("POST", "/jobs/x/cancel", headers=known).status_code == 403  # no token
    assert rows(service.container) == before
    told = [line for line in lines if line["event"] == "stranger_refused"]
    assert {"stranger-1"} < {line["request_id"] for line in told}
    assert {line["address"] for line in told} == {"127.0.0.1"}


def test_other_sites_pages_cannot_either(container: Container, client: httpx.Client) -> None:
    before = rows(container)
    answer = client.post("/v1/searches", json={}, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.json()["code"] == "cross_site"
    assert rows(container) == before


def test_an_administrator_reads_and_ends_what_is_its_project_s(service: Keyed) -> None:
    made = service.ask("POST", "/v1/keys", "admin", json={"name": "new", "scope": "read"})
    assert made.status_code == 201
    assert made.headers["cache-control"] == "no-store"
    new = made.json()
    assert service.ask("GET", "/v1/jobs", headers=bearer(new["key"])).status_code == 200
    listed = service.ask("GET", "/v1/keys", "admin").json()["items"]
    assert listed[0]["name"] == "new"
    assert "key" not in listed[0]

    elsewhere = service.ask("POST", f"/v1/keys/{new['id']}:revoke", "other")
    assert elsewhere.status_code == 404
    assert service.ask("POST", "/v1/keys/nobody00:revoke", "other").status_code == 404
    theirs = service.ask("GET", "/v1/keys", "other").json()["items"]
    assert [each["name"] for each in theirs] == ["o"]
    ended = service.ask("POST", f"/v1/keys/{new['id']}:revoke", "admin").json()
    assert ended["revoked_at"] is not None

    page = service.ask("GET", "/v1/audit?page_size=2", "admin").json()
    assert [each["action"] for each in page["items"]] == ["keys_revoke", "keys_create"]
    following = service.ask(
        "GET", f"/v1/audit?page_size=2&page_token={page['next_page_token']}", "admin"
    )
    assert following.status_code == 200
    assert service.ask("GET", "/v1/audit", "other").json()["items"] == []


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_a_revoked_key_is_forgotten_in_seconds(
    service: Keyed, monkeypatch: pytest.MonkeyPatch
) -> None:
    with service.container.sessions.begin() as session:
        key, text = api_keys.create(session, DEFAULT, name="brief", scope=api_keys.Scope.READ)
    assert service.ask("GET", "/v1/jobs", headers=bearer(text)).status_code == 200
    with service.container.sessions.begin() as session:
        api_keys.revoke(session, key.id)
    later = time.monotonic() + 5.01
    monkeypatch.setattr("api.recognition.time.monotonic", lambda: later)
    answer = service.ask("GET", "/v1/jobs", headers=bearer(text))
    assert answer.json()["code"] == "key_revoked"


ASKED = (
    ("GET", "/v1/jobs?x=1"),
    ("POST", "/v1/searches"),
    ("GET", "/v1/keys"),
    ("GET", "/v1/audit"),
    ("PUT", "/nowhere"),
)


def test_secrets_are_nowhere(
    service: Keyed,
    log: io.StringIO,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A key, a cookie and its page's token, through refusals, bugs and everything that is kept."""
    monkeypatch.setattr(service.app, "request_lines", True)
    service.app.middleware_stack = None  # to be built with it
    caplog.set_level(logging.WARNING, logger="httpx")  # that is the asker's
    seen: list[httpx.Response] = []
    login = service.ask("POST", "/login", data={"key": service.keys["write"]}, headers=PAGE)
    cookie = login.headers["set-cookie"].partition(";")[0]
    known = PAGE | {"Cookie": cookie}
    page = service.ask("GET", "/", headers=known)
    token = page.text.partition('name="csrf-token" content="')[2][:64]
    assert len(token) == 64
    for by in ("admin", "revoked", "expired", "wrong"):
        for method, path in ASKED:
            seen.append(service.ask(method, path, by))
    seen.append(service.ask("POST", f"/datasets/{uuid4()}/rank?csrf={token}", headers=known))
    seen.append(service.ask("POST", "/login", data={"key": service.keys["wrong"]}, headers=PAGE))
    with monkeypatch.context() as broken:
        broken.setattr("core.services.jobs.listing", lambda *_, **__: 1 / 0)
        seen.append(service.ask("GET", "/v1/jobs", "admin"))
    assert seen[-1].status_code == 500
    seen.append(service.ask("GET", "/metrics", "admin"))
    assert "headstart_http_requests_total" in seen[-1].text
    whole = [key for key in service.keys.values() if api_keys.parsed(key)]
    assert not [key for key in whole if key.split("_")[1] in seen[-1].text]

    with closing(sqlite3.connect(service.container.settings.home / "headstart.db")) as database:
        dump = "\n".join(database.iterdump())
    logged = log.getvalue()
    assert service.keys["admin"].split("_")[1] in dump
    assert f'"key": "{service.keys["admin"].split("_")[1]}"' in logged
    assert "ZeroDivisionError" in logged
    told = "\n".join(each.text + str(each.headers) for each in seen)
    secrets = [cookie.partition("=")[2], token]
    secrets += [key.split("_")[2] for key in whole]
    assert len(secrets) > 8
    for place in (dump, logged, told):
        assert not [each for each in secrets if each in place]


def test_the_database_s_password_is_nowhere(tmp_path: Path, log: io.StringIO) -> None:
    url = "postgresql://headstart:canary-8d1f@127.0.0.1:1/headstart?connect_timeout=1"
    container = bootstrap.build(Settings(home=tmp_path, auth="keys", database_url=url))
    service = Keyed(
        create_app(container), container, {"key": api_keys._minted()[2]}, DEFAULT, asyncio.Runner()
    )
    with service.runner:
        answers = [service.ask("GET", path, "key") for path in ("/v1/jobs", "/readyz", "/")]
    assert [each.status_code for each in answers] == [503, 503, 503]
    told = "\n".join(each.text for each in answers)
    assert "canary" not in told + log.getvalue()
    container.close()


LIMITED = RateLimits(
    reads_per_second=0.001, reads_burst=3, writes_per_second=0.001, writes_burst=2,
    failures_per_second=0.001, failures_burst=4,
)  # fmt: skip


def statuses(service: Keyed, times: int, method: str, path: str, by: str) -> list[int]:
    return [service.ask(method, path, by, json={}).status_code for _ in range(times)]


def test_a_key_and_a_stranger_ask_so_often(migrated_sqlite: Path, tmp_path: Path) -> None:
    for service in keyed(migrated_sqlite, tmp_path, LIMITED):
        codes = partial(statuses, service)

        assert codes(4, "GET", "/v1/jobs", "read") == [200, 200, 200, 429]
        assert codes(1, "GET", "/v1/jobs", "admin") == [200]  # each key has its own
        assert codes(3, "POST", "/v1/searches", "write") == [422, 422, 429]
        refused = service.ask("POST", "/v1/searches", "write", json={})
        assert refused.json()["code"] == "rate_limited"
        assert 900 < int(refused.headers["retry-after"]) <= 1000
        assert codes(2, "GET", "/v1/jobs", "none") == [401, 401]
        assert codes(3, "GET", "/v1/jobs", "wrong") == [401, 401, 429]
        assert codes(1, "GET", "/v1/jobs", "none") == [429]
        assert service.ask("POST", "/login", data={"key": "x"}).status_code == 429
        assert codes(1, "GET", "/v1/keys", "admin") == [200]  # known before, from the same place
        assert codes(1, "GET", "/healthz", "none") == [200]
        before = rows(service.container)["audit"]
        assert codes(4, "POST", "/v1/searches", "read") == [403, 403, 429, 429]
        assert rows(service.container)["audit"] == before + 2


def test_nobody_logs_in_without_an_end(migrated_sqlite: Path, tmp_path: Path) -> None:
    for service in keyed(migrated_sqlite, tmp_path, LIMITED):
        form = {"data": {"key": service.keys["read"]}, "headers": PAGE}
        found = [service.ask("POST", "/login", **form).status_code for _ in range(6)]
        assert found == [303] * 4 + [429] * 2
        assert rows(service.container)["browser_sessions"] == 4


def test_a_bucket_fills_again() -> None:
    now = [100.0]
    buckets = Buckets(2.0, 3.0, clock=lambda: now[0])
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]
    assert buckets.wait("b") == 0
    now[0] += 0.25
    assert buckets.take("a") == pytest.approx(0.25)
    now[0] += 0.25
    assert (buckets.take("a"), buckets.wait("a")) == (0, 0.5)
    now[0] += 1_000
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]
    for name in range(2 * MOST):
        buckets.take(str(name))
        now[0] += 1
    assert len(buckets._buckets) <= MOST
