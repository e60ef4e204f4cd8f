"""Who may ask, and what every answer carries."""

import asyncio
import re
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from api import security
from api.app import create_app
from core import bootstrap
from core.bootstrap import Container
from core.config import Settings
from tests.unit.api import scenes
from tests.unit.api.conftest import Bell, Served


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.7:8765", "", "[::2]"]
)
def test_a_foreign_host_name_is_refused(client: httpx.Client, host: str) -> None:
    """DNS rebinding: a foreign page makes its own name point here."""
    answer = client.get("/v1/datasets", headers={"Host": host})
    assert (answer.status_code, answer.json()["code"]) == (400, "unknown_host")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9", "127.0.0.1:8765", "[::1]:8765"])
def test_every_loopback_name_is_known(client: httpx.Client, host: str) -> None:
    assert client.get("/v1/datasets", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://[::1"},
    ],
)
def test_another_sites_page_cannot_make_us_do_things(
    client: httpx.Client, container: Container, bell: Bell, headers: dict[str, str]
) -> None:
    target = scenes.dataset(container)
    for path in (f"/v1/datasets/{target.id}:rank", f"/datasets/{target.id}/rank"):
        answer = client.post(path, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "cross_site")
    assert bell.rung == []
    assert client.get("/v1/datasets", headers=headers).status_code == 200


@pytest.mark.parametrize("site", ["same-origin", "none", None])
def test_our_own_page_and_programs_may(
    client: httpx.Client, served: Served, container: Container, site: str | None
) -> None:
    target = scenes.dataset(container)
    headers = (
        {"Origin": served.url} if site is None else {"Sec-Fetch-Site": site, "Origin": "null"}
    )
    assert client.post(f"/v1/datasets/{target.id}:rank", headers=headers).status_code == 202


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200),
        ("/v1/datasets", 200),
        ("/healthz", 200),
        ("/static/headstart.css", 200),
        ("/nowhere", 404),
        ("/v1/jobs/7", 404),
    ],
)
def test_every_answer_carries_the_headers(client: httpx.Client, path: str, status: int) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    for name, value in security.HEADERS.items():
        assert answer.headers[name] == value
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert "server" not in answer.headers or "uvicorn" in answer.headers["server"]


def test_a_bug_is_a_blank_500_with_the_headers(
    client: httpx.Client, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.headers["Connection"] = "close"  # the server closes it anyway

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret: /etc/passwd SELECT * FROM jobs")

    monkeypatch.setattr("core.services.jobs.listing", broken)
    answer = client.get("/v1/jobs")
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal"
    assert "secret" not in answer.text
    assert answer.headers["content-security-policy"] == security.HEADERS["Content-Security-Policy"]
    page = client.get("/jobs", headers={"Accept": "text/html"})
    assert page.status_code == 500
    assert page.headers["content-type"].startswith("text/html")
    assert "secret" not in page.text


def test_pages_hold_no_inline_code_or_style(browser: httpx.Client, container: Container) -> None:
    target = scenes.dataset(container)
    _, model = scenes.finished(container, target)
    job = scenes.running(container, target)
    scenes.recorded(container, job)
    supernet = scenes.supernet(container, scenes.dataset(container, "source"))
    pages = ["/", f"/datasets/{target.id}", f"/jobs/{job.id}", f"/models/{model.id}", "/nowhere"]
    pages += ["/registry", f"/registry/{supernet.id}", "/operations"]
    pages += ["/account/keys", "/account/webhooks", "/account/audit"]
    forbidden = re.compile(
        r"<style|\sstyle=|\son[a-z]+=|javascript:|<script(?![^>]*\ssrc=)|https?://"
    )
    for path in pages:
        text = browser.get(path).text.replace("http://www.w3.org/2000/svg", "")
        text = text.replace(str(browser.base_url).rstrip("/"), "")  # in the code to be copied
        assert forbidden.search(text) is None, path


def routes(app: FastAPI) -> list[tuple[str, str]]:
    return [
        (path, method)
        for path, operations in app.openapi()["paths"].items()
        for method in operations
    ]


def test_the_schema_describes_every_route(container: Container) -> None:
    app = create_app(container)
    described = routes(app)
    assert ("/v1/jobs/{job_id}:cancel", "post") in described
    assert ("/v1/datasets/{dataset_id}:rank", "post") in described
    ours = ("/v1/", "/v2", "/healthz", "/readyz")
    assert all(path.startswith(ours) for path, _ in described)


def test_a_network_service_answers_to_any_name(container: Container) -> None:
    settings = Settings(home=container.settings.home, allow_unauthenticated_network=True)
    app = create_app(bootstrap.build(settings))
    guard = next(each for each in app.user_middleware if each.cls is security.Guard)
    assert guard.kwargs["any_host"] is True


@pytest.mark.parametrize(
    ("server", "here"),
    [
        (("127.0.0.1", 8000), True),
        (("::1", 8000), True),
        (("::ffff:127.0.0.1", 8000), True),
        (("/run/headstart.sock", None), True),
        (("10.0.0.7", 8000), False),
        (("fe80::1%eth0", 8000), False),
        (("headstart", 8000), False),
    ],
)
def test_a_host_header_lets_no_stranger_in(
    container: Container, server: tuple[str, int | None], here: bool
) -> None:
    """A server that was told elsewhere to listen to the network: strangers say localhost, too."""
    app, answers = create_app(container), []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        answers.append(message)

    scope = {
        "type": "http", "method": "GET", "path": "/v1/me", "query_string": b"",
        "headers": [(b"host", b"localhost")], "server": server,
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    assert answers[0]["status"] == (200 if here else 400)
