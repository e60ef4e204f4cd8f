"""Logging in at a browser: cookies, where they count, and the token of our own pages."""

import re
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from api import browsers
from core.domain.identity import DEFAULT, Scope
from core.services import api_keys
from tests.unit.api import scenes
from tests.unit.api.keyed import Keyed, keyed

PAGE = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}
TOKEN = re.compile(r'<meta name="csrf-token" content="([0-9a-f]{64})">')


@pytest.fixture(scope="module")
def service(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    yield from keyed(migrated_sqlite, tmp_path_factory.mktemp("keyed"))


def logged_in(service: Keyed, by: str, scheme: str = "http", to: str = "/jobs") -> httpx.Response:
    form = {"key": service.keys[by], "next": to}
    return service.ask("POST", "/login", scheme=scheme, data=form, headers=PAGE)


def cookie(service: Keyed, by: str = "write") -> dict[str, str]:
    said = logged_in(service, by).headers["set-cookie"]
    return PAGE | {"Cookie": said.partition(";")[0]}


def token(service: Keyed, known: dict[str, str]) -> str:
    (found,) = TOKEN.findall(service.ask("GET", "/", headers=known).text)
    return str(found)


def refusal(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, re.findall(r"Code <code>(\w+)</code>", answer.text)[0]


def test_a_key_opens_the_pages(service: Keyed) -> None:
    form = service.ask("GET", "/login?next=/jobs", headers=PAGE)
    assert 'value="/jobs"' in form.text
    answer = logged_in(service, "read")
    assert (answer.status_code, answer.headers["location"]) == (303, "/jobs")
    said = answer.headers["set-cookie"].lower()
    assert said.startswith("headstart=")
    assert {"httponly", "samesite=lax", "path=/", "max-age=43200"} <= set(said.split("; "))
    assert "secure" not in said
    page = service.ask("GET", "/jobs", headers=cookie(service, "read"))
    assert page.status_code == 200
    assert "Log out" in page.text


def test_by_tls_the_cookie_is_this_host_s_alone(service: Keyed) -> None:
    said = logged_in(service, "read", scheme="https").headers["set-cookie"]
    assert said.startswith("__Host-headstart=")
    assert "Secure" in said
    assert "domain" not in said.lower()
    known = PAGE | {"Cookie": said.partition(";")[0]}
    assert service.ask("GET", "/jobs", scheme="https", headers=known).status_code == 200
    plain = PAGE | {"Cookie": known["Cookie"].replace("__Host-", "")}
    assert service.ask("GET", "/jobs", scheme="https", headers=plain).status_code == 303


@pytest.mark.parametrize("by", ["none", "malformed", "wrong", "revoked", "expired"])
def test_no_other_key_does(service: Keyed, by: str) -> None:
    answer = logged_in(service, by)
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert 'role="alert"' in answer.text
    assert by in {"none", "malformed"} or service.keys[by] not in answer.text


@pytest.mark.parametrize(
    "to", ["//evil.example", "https://evil.example", "/\\evil.example", "", "/a\nb"]
)
def test_the_login_leads_nowhere_else(service: Keyed, to: str) -> None:
    assert logged_in(service, "read", to=to).headers["location"] == "/"


def test_what_is_drawn_once_for_all_has_each_readers_own_token(service: Keyed) -> None:
    job = scenes.running(service.mine, scenes.dataset(service.mine, "watched"))
    both = cookie(service), cookie(service)
    for known in (*both, *both):
        page = service.ask("GET", f"/jobs/{job.id}/live", headers=known).text
        assert f'action="/jobs/{job.id}/cancel?csrf={token(service, known)}"' in page


def test_a_form_without_its_token_changes_nothing(service: Keyed) -> None:
    target = scenes.dataset(service.mine, "forms")
    known = cookie(service)
    path = f"/datasets/{target.id}/rank"
    mine, other = token(service, known), token(service, cookie(service))
    assert mine != other
    for wrong in ("", "?csrf=", f"?csrf={other}", "?csrf=é"):
        assert refusal(service.ask("POST", path + wrong, headers=known)) == (403, "csrf")
    page = service.ask("GET", f"/datasets/{target.id}", headers=known).text
    assert f'action="{path}?csrf={mine}"' in page
    for form in re.findall(r'<form[^>]*method="post"[^>]*>', page):
        assert f"?csrf={mine}" in form
    done = service.ask("POST", f"{path}?csrf={mine}", headers=known)
    assert (done.status_code, done.headers["location"][:6]) == (303, "/jobs/")
    assert "csrf" not in done.headers["location"]


def test_at_the_interface_a_cookie_counts_for_our_pages_alone(service: Keyed) -> None:
    known = cookie(service)
    for site in ("cross-site", "same-site", "none", None):
        headers = {"Cookie": known["Cookie"]} | ({"Sec-Fetch-Site": site} if site else {})
        assert service.ask("GET", "/v1/jobs", headers=headers).status_code == 401
        sent = headers | {"X-CSRF-Token": token(service, known)}
        assert service.ask("POST", "/v1/searches", headers=sent, json={}).status_code == 401
    own = {"Cookie": known["Cookie"], "Sec-Fetch-Site": "same-origin"}
    assert service.ask("GET", "/v1/jobs", headers=own).status_code == 200
    answer = service.ask("POST", "/v1/searches", headers=own, json={})
    assert (answer.status_code, answer.json()["code"]) == (403, "csrf")
    own |= {"X-CSRF-Token": token(service, known)}
    assert service.ask("POST", "/v1/searches", headers=own, json={}).status_code == 422


def test_a_browser_may_no_more_than_its_key(service: Keyed) -> None:
    known = cookie(service, "read")
    path = f"/jobs/{uuid4()}/cancel?csrf={token(service, known)}"
    answer = service.ask("POST", path, headers=known)
    assert refusal(answer) == (403, "forbidden")


def test_logging_out_ends_it(service: Keyed) -> None:
    known = cookie(service)
    mine = token(service, known)
    out = service.ask("POST", f"/logout?csrf={mine}", headers=known)
    assert (out.status_code, out.headers["location"]) == (303, "/login")
    assert 'headstart="";' in out.headers["set-cookie"]
    assert service.ask("GET", "/jobs", headers=known).status_code == 303


def test_a_revoked_key_takes_its_browsers_along(service: Keyed) -> None:
    with service.container.sessions.begin() as session:
        key, text = api_keys.create(session, DEFAULT, name="leaving", scope=Scope.READ)
    form = {"key": text, "next": "/"}
    said = service.ask("POST", "/login", data=form, headers=PAGE).headers["set-cookie"]
    with service.container.sessions.begin() as session:
        api_keys.revoke(session, key.id)
    known = PAGE | {"Cookie": said.partition(";")[0]}
    assert service.ask("GET", "/jobs", headers=known).status_code == 303


def test_nobody_logs_in_where_nobody_is_asked(client: httpx.Client) -> None:
    answer = client.get("/login")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert browsers.csrf_token.get() == ""
    assert "csrf" not in client.get("/").text


def test_a_cookie_is_no_key(service: Keyed) -> None:
    known = cookie(service)
    assert service.ask("GET", "/jobs", headers=known).status_code == 200  # remembered from now on
    said = {"Authorization": f"Bearer {known['Cookie'].partition('=')[2]}"}
    assert service.ask("GET", "/v1/jobs", headers=said).status_code == 401
