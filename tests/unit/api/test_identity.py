"""Every route by every sort of key: closed unless it is listed, whoever wrote it and wherever."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.routing import Mount

from api import identity
from core.config import Settings
from tests.unit.api.keyed import Keyed, addresses, keyed

UNKNOWN = ("none", "malformed", "wrong")
ENDED = {"revoked": "key_revoked", "expired": "key_expired"}
PUBLIC_ADDRESSES = {"/healthz", "/readyz", "/v2/health/live", "/v2/health/ready",
                    "/openapi.json", "/login", "/static/headstart.css"}  # fmt: skip
OF_ADMINISTRATORS = ("/v1/keys", "/v1/audit", "/metrics", "/account/keys", "/account/audit")
PAGE = {"Accept": "text/html"}


@pytest.fixture(scope="module")
def service(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    yield from keyed(migrated_sqlite, tmp_path_factory.mktemp("keyed"))


def code(answer: httpx.Response) -> str | None:
    return answer.json().get("code") if "json" in answer.headers["content-type"] else None


def closed(service: Keyed) -> list[tuple[str, str]]:
    found = [each for each in addresses(service.app) if each[1] not in PUBLIC_ADDRESSES]
    assert len(found) > 60
    assert ("POST", "/logout") in found
    return found


def test_what_is_open_is_listed(service: Keyed) -> None:
    found = {path for _, path in addresses(service.app) if identity.is_open(path)}
    assert found == PUBLIC_ADDRESSES
    for path in PUBLIC_ADDRESSES:
        assert service.ask("GET", path, "none").status_code == 200
    mounts = [each.path for each in service.app.routes if isinstance(each, Mount)]
    assert mounts == ["/static"]


@pytest.mark.parametrize("by", UNKNOWN)
def test_nothing_else_is_reached_without_a_key(service: Keyed, by: str) -> None:
    bodies = set()
    for method, path in closed(service):
        answer = service.ask(method, path, by)
        assert answer.status_code == 401, (method, path)
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.headers["x-content-type-options"] == "nosniff"
        if method != "HEAD":
            bodies.add((code(answer), answer.json()["detail"]))
    assert len(bodies) == 1, "who is a stranger learns nothing from the answer"


@pytest.mark.parametrize("by", ENDED)
def test_an_ended_key_opens_nothing(service: Keyed, by: str) -> None:
    for method, path in closed(service):
        answer = service.ask(method, path, by)
        assert answer.status_code == 401, (method, path)
        assert method == "HEAD" or code(answer) == ENDED[by]


def test_who_may_read_changes_nothing(service: Keyed) -> None:
    for method, path in closed(service):
        answer = service.ask(method, path, "read")
        if not identity.only_reads(method, path):
            assert (answer.status_code, code(answer)) == (403, "forbidden"), (method, path)
            assert "read" in answer.json()["detail"]
            assert "write" in answer.json()["detail"]
        elif path.startswith(OF_ADMINISTRATORS):
            assert method == "HEAD" or code(answer) == "forbidden", (method, path)
        else:
            assert answer.status_code not in {401, 403}, (method, path)


def test_who_may_write_does_not_administer(service: Keyed) -> None:
    for method, path in closed(service):
        answer = service.ask(method, path, "write")
        if path.startswith(OF_ADMINISTRATORS):
            assert answer.status_code == 403, (method, path)
            assert method == "HEAD" or code(answer) == "forbidden"
        else:
            assert answer.status_code not in {401, 403}, (method, path)


def test_the_whole_installation_is_its_operator_s_to_see(service: Keyed) -> None:
    assert "headstart_queue_depth" in service.ask("GET", "/metrics", "admin").text
    theirs = service.ask("GET", "/metrics", "other")
    assert (theirs.status_code, code(theirs)) == (403, "forbidden")
    assert "default" in theirs.json()["detail"]


def test_prometheus_has_a_token_that_opens_nothing_else(
    migrated_sqlite: Path, tmp_path: Path
) -> None:
    old, new = "o" * 32, "n" * 40
    for service in keyed(migrated_sqlite, tmp_path, metrics_token=f"{new},{old}"):
        for token in (old, new):
            shown = {"Authorization": f"Bearer {token}"}
            assert "headstart_queue" in service.ask("GET", "/metrics", headers=shown).text
            assert service.ask("HEAD", "/metrics", headers=shown).status_code == 200
            for method, path in closed(service):
                answer = service.ask(method, path, headers=shown)
                assert path == "/metrics" or answer.status_code == 401, (method, path)
            assert service.ask("POST", "/metrics", headers=shown).status_code == 401
        for wrong in (f"Bearer {new},{old}", f"Bearer {old[1:]}", f"Basic {old}", "Bearer é"):
            shown = {"Authorization": wrong.encode()}  # type: ignore[dict-item]
            assert service.ask("GET", "/metrics", headers=shown).status_code == 401
        assert service.ask("GET", "/metrics", "read").status_code == 403
    with pytest.raises(ValueError, match="32 characters"):
        Settings(metrics_token=f"{new},short")  # type: ignore[arg-type]


JSON = {"Content-Type": "application/json"}
STRANGE: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "/nowhere", {}),
    ("DELETE", "/v1/jobs", {}),
    ("OPTIONS", "/v1/jobs", {}),
    ("PUT", "/healthz/x", {}),
    ("POST", "/v1/searches", {"content": "{", "headers": JSON}),
    ("POST", "/v1/searches", {"content": "{", "headers": {"Content-Type": "text/plain"}}),
    ("POST", "/v1/searches", {"content": b"x" * 2_000_000}),
    ("GET", "/static", {}),
    ("GET", "//healthz", {}),
    ("GET", "/healthz%2F..%2Fv1%2Fjobs", {}),
    ("GET", "/openapi.json/", {}),
    ("GET", "/heal%09thz", {}),
    ("GET", "/static%0A/headstart.css", {}),
    ("GET", "/v1/jobs?csrf=x", {"headers": {"Host": "evil.example"}}),
]


@pytest.mark.parametrize(("method", "path", "options"), STRANGE)
def test_who_asks_comes_before_what_is_asked(
    service: Keyed, method: str, path: str, options: dict[str, Any]
) -> None:
    answer = service.ask(method, path, "none", **options)
    assert (answer.status_code, code(answer)) == (401, "unauthenticated")


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic {}", "{}", "Bearer {} {}", "Bearer {}x", "bearer é"]
)
def test_other_ways_to_say_a_key_are_none(service: Keyed, header: str) -> None:
    said = {"Authorization": header.replace("{}", service.keys["admin"]).encode()}
    answer = service.ask("GET", "/v1/jobs", headers=said)
    assert (answer.status_code, code(answer)) == (401, "unauthenticated")
    said = {"Authorization": f"bearer {service.keys['read']}".encode()}
    assert service.ask("GET", "/v1/jobs", headers=said).status_code == 200


def test_of_two_keys_none_counts(service: Keyed) -> None:
    for second in ("admin", "wrong"):
        said = [("Authorization", f"Bearer {service.keys[each]}") for each in ("read", second)]
        answer = service.ask("GET", "/v1/jobs", headers=httpx.Headers(said))
        assert (answer.status_code, code(answer)) == (401, "unauthenticated")


@pytest.mark.parametrize(
    ("path", "door"), [("/", "/login"), ("/jobs?a=b", "/login?next=/jobs%3Fa%3Db")]
)
def test_people_are_led_to_the_login(service: Keyed, path: str, door: str) -> None:
    answer = service.ask("GET", path, headers=PAGE)
    assert (answer.status_code, answer.headers["location"]) == (303, door)
    partial = service.ask("GET", path, headers=PAGE | {"HX-Request": "true"})
    assert partial.status_code == 401
    assert service.ask("GET", f"/v1{path}", headers=PAGE).status_code == 401
