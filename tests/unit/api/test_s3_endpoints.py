"""Imports from S3: only from where the operator says, by whatever words they are asked for."""

import socket
import ssl
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from api.routes.s3_uploads import S3Body
from core.bootstrap import Container
from core.config import Settings
from tests.fixtures.hosts import Names, certificate
from tests.fixtures.impostor import Heard, Impostor, answer, honest, impostor
from tests.unit.api.conftest import Served
from tests.unit.api.fetches import (
    DATA,
    SECRETS,
    Fetch,
    code,
    endpoint,
    fetch,
    listed,
    nothing_left,
    serving,
)

__all__ = ["certificate", "endpoint", "fetch", "listed"]


def spellings(port: int) -> list[str]:
    """What leads to the listed endpoint, or near it, by other words (rows 42-45)."""
    return [
        f"http://localhost:{port}", f"http://[::1]:{port}", f"http://0.0.0.0:{port}",
        f"http://2130706433:{port}", f"http://0x7f.1:{port}", f"http://127.1:{port}",
        f"http://[::ffff:127.0.0.1]:{port}", f"http://017700000001:{port}",
        f"http://127.0.0.1.:{port}", f"http://user@127.0.0.1:{port}",
        f"http://127.0.0.1:{port}@evil.example", f"http://evil.example@127.0.0.1:{port}",
        f"http://127.0.0.1:{port}/path", f"http://127.0.0.1:{port}?a", f"http://127.0.0.1:{port}#",
        f"http://127.0.0.1:{port}\\@evil.example", f" http://127.0.0.1:{port}",
        f"http://127.0.0.1:{port}\t", f"http://127.0.0.1:{port}\n", f"//127.0.0.1:{port}",
        f"127.0.0.1:{port}", f"https://127.0.0.1:{port}", f"http://127.0.0.1:{port}0",
        f"http://127.0.0.1:0{port + 65536}", f"http://①②⑦.0.0.1:{port}",
        "http://127.0.0.1", "http://127.0.0.1:22", "http://169.254.169.254", "http://10.0.0.1",
        "http://192.168.0.1", "http://[fd00::1]", "http://[fe80::1]", "http://[fe80::1%25lo]",
        "http://metadata.google.internal", "https://s3.amazonaws.com", "file:///etc/passwd",
        "gopher://127.0.0.1", "ftp://127.0.0.1", "",
    ]  # fmt: skip


def test_only_what_is_listed_is_reached(fetch: Fetch, endpoint: Impostor) -> None:
    wrong = {each: code(fetch(endpoint=each)) for each in spellings(endpoint.port)}
    assert set(wrong.values()) == {(422, "url_not_allowed")}, wrong
    assert endpoint.heard == []
    assert fetch(endpoint=f"HTTP://127.0.0.1:{endpoint.port}/").status_code == 201


def test_nothing_is_reached_unless_the_operator_says_so(
    client: httpx.Client, endpoint: Impostor, container: Container, served: Served
) -> None:
    served.app.state.container = container
    body = {"uri": "s3://bucket/a.zip", "endpoint": endpoint.url, **SECRETS}
    refused = client.post("/v1/uploads:s3", json=body)
    assert code(refused) == (422, "url_not_allowed")
    assert "HEADSTART_S3_ENDPOINTS" in refused.json()["detail"]
    assert (Settings().s3_endpoints, endpoint.heard) == ((), [])


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("when", ["HEAD", "GET"])
def test_redirects_are_not_followed(
    fetch: Fetch, endpoint: Impostor, listed: Container, status: int, when: str
) -> None:
    """S3 sends clients to the hosts of other regions; so could it to a metadata service."""
    with impostor(honest(DATA)) as metadata:
        place = f"{metadata.url}/latest/meta-data"
        words = b"<Error><Code>PermanentRedirect</Code><Endpoint>%s</Endpoint></Error>"
        body = words % f"127.0.0.1:{metadata.port}".encode()
        away = answer(status, body, location=place, x_amz_bucket_region="eu-central-1")

        def play(heard: Heard, connection: socket.socket) -> None:
            if when in {heard.method, "HEAD"}:
                connection.sendall(away[: None if heard.method == "GET" else -len(body)])
            else:
                honest(DATA)(heard, connection)

        endpoint.play = play
        assert code(fetch()) == (422, "url_not_allowed")
        assert metadata.heard == []
    assert nothing_left(listed)


def test_what_was_judged_is_what_is_connected_to(
    client: httpx.Client,
    endpoint: Impostor,
    container: Container,
    served: Served,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = Names(monkeypatch, "127.0.0.1", "169.254.169.254")
    url = f"http://store.example:{endpoint.port}"
    serving(served, container, url)
    body = {"uri": "s3://bucket/a.zip", "endpoint": url, **SECRETS}
    assert client.post("/v1/uploads:s3", json=body).status_code == 201
    assert names.asked == 1
    hosts = {each.headers["host"] for each in endpoint.heard}
    assert (len(endpoint.heard), hosts) == (5, {f"store.example:{endpoint.port}"})


@pytest.mark.parametrize("address", ["169.254.169.254", "0.0.0.0", "224.0.0.1"])
def test_a_listed_name_that_leads_to_nobodys_store_is_refused(
    client: httpx.Client,
    endpoint: Impostor,
    container: Container,
    served: Served,
    monkeypatch: pytest.MonkeyPatch,
    address: str,
) -> None:
    Names(monkeypatch, address)
    url = f"http://store.example:{endpoint.port}"
    serving(served, container, url)
    body = {"uri": "s3://bucket/a.zip", "endpoint": url, **SECRETS}
    assert code(client.post("/v1/uploads:s3", json=body)) == (422, "url_not_allowed")
    assert endpoint.heard == []


@pytest.mark.parametrize("name", ["store.example", "other.example"])
def test_a_certificate_is_held_to_the_name_and_not_to_the_address(
    client: httpx.Client,
    container: Container,
    served: Served,
    monkeypatch: pytest.MonkeyPatch,
    certificate: Path,
    name: str,
) -> None:
    Names(monkeypatch, "127.0.0.1", name=name)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    with impostor(honest(DATA), secured=context) as endpoint:
        url = f"https://{name}:{endpoint.port}"
        serving(served, container, url)
        body = {"uri": "s3://bucket/a.zip", "endpoint": url, **SECRETS}
        made = client.post("/v1/uploads:s3", json=body)
    if name == "store.example":
        assert made.status_code == 201, made.text
    else:
        assert code(made) == (503, "fetch_failed")
        assert (endpoint.heard, nothing_left(container)) == ([], True)


@pytest.mark.parametrize(
    "uri",
    [
        "s3://bucket", "s3://bucket/", "s3://bucket/folder/", "s3://b/../", "s3://bucket/../x",
        "s3://bucket/a/./b", "s3://bucket/..", "s3:///key", "s3://../key", "s3://B/key",
        "s3://bucket:80/key", "s3://user@bucket/key", "s3://a..b/key", "s3://-a/key",
        "s3://arn:aws:s3:::x/key", "http://bucket/key", "S3://bucket/key", "bucket/key", "",
        "s3://bucket/a\r\nX: y", "s3://bucket/a\x00", "s3://bucket/\u202egpj",
        f"s3://bucket/{'x' * 1025}", f"s3://{'b' * 64}/key",
    ],
)  # fmt: skip
def test_what_names_no_object_is_refused(fetch: Fetch, endpoint: Impostor, uri: str) -> None:
    assert code(fetch(uri=uri)) == (422, "invalid_s3_uri")
    assert endpoint.heard == []


def test_any_key_is_asked_for_as_it_is(fetch: Fetch, endpoint: Impostor) -> None:
    for key, path in {
        "ä ö/?#%2e+&=;.zip": "/bucket/%C3%A4%20%C3%B6/%3F%23%252e%2B%26%3D%3B.zip",
        "a//b\\c.zip": "/bucket/a//b%5Cc.zip",
        "...": "/bucket/...",
    }.items():
        made = fetch(uri=f"s3://bucket/{key}")
        assert made.status_code == 201, made.text
        assert endpoint.heard[-1].path == path


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"secret_key": ""}, "secret_key"),
        ({"secret_key": "CANARY\n"}, "secret_key"),
        ({"access_key": "CANARY\r\nHost: x"}, "access_key"),
        ({"session_token": "CANARY-é"}, "session_token"),
        ({"session_token": "C" * 8_193}, "session_token"),
        ({"access_key": 7}, "access_key"),
        ({"access_key": None}, "access_key"),
        ({"region": "eu/../x"}, "region"),
        ({"region": ""}, "region"),
        ({"uri": "s3://" + "b" * 3_000}, "uri"),
        ({"follow": True}, "follow"),
    ],
)
def test_a_body_is_strict_and_its_secrets_are_not_repeated(
    fetch: Fetch, endpoint: Impostor, change: dict[str, Any], place: str
) -> None:
    refused = fetch(**change)
    assert code(refused) == (422, "validation_error")
    assert [each["place"] for each in refused.json()["errors"]] == [place]
    assert endpoint.heard == []


def test_nothing_that_holds_the_secrets_shows_them(endpoint: Impostor) -> None:
    body = S3Body(uri="s3://bucket/key", endpoint=endpoint.url, **SECRETS)  # type: ignore[arg-type]
    source = body.to_source(Settings(s3_endpoints=(endpoint.url,)))
    shown = f"{body!r} {body} {body.model_dump()} {body.model_dump_json()} {source!r} {source}"
    assert "CANARY" not in shown


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Content-Type": "text/plain"}, (415, "unsupported_media_type")),
        ({"Content-Type": "application/offset+octet-stream"}, (415, "unsupported_media_type")),
        ({"Content-Type": "application/json", "Origin": "https://evil"}, (403, "cross_site")),
        ({"Content-Type": "application/json"}, (413, "too_large")),
    ],
)
@pytest.mark.parametrize("path", [":s3", ":presign", f"/{UUID(int=0)}:complete"])
def test_the_new_addresses_are_guarded(
    client: httpx.Client, path: str, headers: dict[str, str], expected: Any
) -> None:
    size = 2 * 1024**2 if expected[0] == 413 else 10
    refused = client.post(f"/v1/uploads{path}", content=b"[" * size, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == expected
