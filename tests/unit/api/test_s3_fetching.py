"""Imports from S3: only from where the operator says, and whatever the endpoint does."""

import hashlib
import random
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import select

from api import fetching, pieces
from api.routes.s3_uploads import S3Body
from core.bootstrap import Container
from core.config import Settings
from core.db.upload_tables import UploadRow
from core.domain import keys
from core.storage import s3_answers, s3_import
from tests.fixtures.impostor import Heard, Impostor, Play, answer, honest, impostor
from tests.unit.api import archives
from tests.unit.api.conftest import ARCHIVE_BYTES, Served
from tests.unit.execution.bench import eventually

DATA = random.Random(5).randbytes(100_000)
PART = 30_000  # so that the data comes in four spans
SECRETS = {
    "access_key": "CANARY-access-key",
    "secret_key": "CANARY-secret-key",
    "session_token": "CANARY-session-token",
}
Fetch = Callable[..., httpx.Response]


@pytest.fixture
def endpoint() -> Iterator[Impostor]:
    with impostor(honest(DATA)) as made:
        yield made


@pytest.fixture
def listed(container: Container, endpoint: Impostor, served: Served) -> Container:
    """The service of an operator who lists the endpoint; its parts are small."""
    return serving(served, container, endpoint.url)


@pytest.fixture
def fetch(client: httpx.Client, endpoint: Impostor, listed: Container) -> Fetch:
    def run(**changes: Any) -> httpx.Response:
        body = {"uri": "s3://bucket/some/a.zip", "endpoint": endpoint.url, **SECRETS, **changes}
        return client.post("/v1/uploads:s3", json=body)

    return run


def serving(served: Served, container: Container, *endpoints: str, **limits: Any) -> Container:
    uploads = container.settings.uploads.model_copy(update={"part_bytes": PART, **limits})
    told = {"s3_endpoints": endpoints, "uploads": uploads}
    made = replace(container, settings=container.settings.model_copy(update=told))
    served.app.state.container = made
    return made


def nothing_left(container: Container) -> bool:
    with container.sessions.read() as session:
        rows = session.scalars(select(UploadRow)).all()
    home = container.settings.home / "scratch"
    files = [path for path in home.rglob("*") if path.is_file()] if home.exists() else []
    return (list(rows), list(container.store.listing(keys.UPLOADS)), files) == ([], [], [])


def code(response: httpx.Response) -> tuple[int, str]:
    assert "CANARY" not in response.text
    return response.status_code, response.json()["code"]


def test_an_object_becomes_a_complete_upload(
    fetch: Fetch, endpoint: Impostor, listed: Container, client: httpx.Client
) -> None:
    made = fetch(sha256=hashlib.sha256(DATA).hexdigest())
    assert made.status_code == 201, made.text
    shown = made.json()
    assert (shown["name"], shown["length"], shown["received"]) == ("a.zip", 100_000, 100_000)
    assert shown["state"] == "complete"
    assert client.get(made.headers["location"]).json() == shown
    parts = sorted(listed.store.listing(keys.UPLOADS), key=lambda each: each.key)
    assert [each.size for each in parts] == [30_000, 30_000, 30_000, 10_000]
    with pieces.assembled(listed, [UUID(shown["id"])]) as (path,):
        assert path.read_bytes() == DATA
    asked = [(each.method, each.headers.get("range")) for each in endpoint.heard]
    assert asked == [
        ("HEAD", None), ("GET", "bytes=0-29999"), ("GET", "bytes=30000-59999"),
        ("GET", "bytes=60000-89999"), ("GET", "bytes=90000-99999"),
    ]  # fmt: skip
    assert all(each.headers["if-match"] == '"one"' for each in endpoint.heard[1:])
    assert {each.path for each in endpoint.heard} == {"/bucket/some/a.zip"}
    signed = endpoint.heard[0].headers
    assert signed["x-amz-security-token"] == SECRETS["session_token"]
    assert signed["authorization"].startswith(
        f"AWS4-HMAC-SHA256 Credential={SECRETS['access_key']}/"
    )
    assert SECRETS["secret_key"] not in str(endpoint.heard)


def test_what_was_fetched_becomes_a_dataset(
    fetch: Fetch, endpoint: Impostor, client: httpx.Client
) -> None:
    endpoint.play = honest(archives.zipped(archives.class_folders()))
    upload = fetch(name="animals.zip").json()["id"]
    made = client.post(f"/v1/datasets?name=animals&upload={upload}")
    assert (made.status_code, made.json()["classes"]) == (201, ["cat", "dog"])


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


class Names:
    """A name whose addresses change from one look to the next (DNS rebinding)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
        self.asked = 0
        self._addresses = addresses
        self._before = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self._found)

    def _found(self, host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        if host not in {"store.example", b"store.example"}:
            return self._before(host, port, *args, **kwargs)
        found = self._addresses[min(self.asked, len(self._addresses) - 1)]
        self.asked += 1
        return self._before(found, port, *args, **kwargs)


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


def refusal(said: str, status: int = 403) -> Play:
    body = f"<Error><Code>{said}</Code><Key>{SECRETS['access_key']}</Key></Error>".encode()

    def play(heard: Heard, connection: socket.socket) -> None:
        whole = answer(status, body, reason=SECRETS["session_token"])
        connection.sendall(whole if heard.method == "GET" else whole[: -len(body)])

    return play


@pytest.mark.parametrize(
    ("status", "said", "expected"),
    [
        (403, "SignatureDoesNotMatch", (422, "s3_access_denied")),
        (403, "InvalidAccessKeyId", (422, "s3_access_denied")),
        (403, "CANARY", (422, "s3_access_denied")),
        (401, "", (422, "s3_access_denied")),
        (400, "ExpiredToken", (422, "s3_access_denied")),
        (400, "AuthorizationHeaderMalformed", (422, "s3_access_denied")),
        (400, "Whatever", (422, "s3_refused")),
        (404, "NoSuchBucket", (422, "s3_not_found")),
        (404, "NoSuchKey", (422, "s3_not_found")),
        (412, "PreconditionFailed", (422, "s3_object_changed")),
        (500, "InternalError", (503, "fetch_failed")),
        (503, "SlowDown", (503, "fetch_failed")),
        (200, "NoSuchKey", (422, "s3_bad_answer")),
    ],
)
def test_refusals_are_told_in_our_words(
    fetch: Fetch, endpoint: Impostor, listed: Container, status: int, said: str, expected: Any
) -> None:
    endpoint.play = refusal(said, status)
    refused = fetch()
    assert code(refused) == expected
    assert ("retry-after" in refused.headers) == (expected[0] == 503)
    assert nothing_left(listed)


def test_the_words_of_a_refusal_are_read_to_a_limit(
    fetch: Fetch, endpoint: Impostor, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = 0

    def play(heard: Heard, connection: socket.socket) -> None:
        nonlocal sent
        connection.sendall(answer(403, content_length=str(10**12)))
        while heard.method == "GET":
            sent += connection.send(b" " * 65_536)

    endpoint.play = play
    assert code(fetch()) == (422, "s3_access_denied")
    assert sent < 32 * 1024**2  # what the kernels keep between the two, not what we took


def with_head(**headers: str) -> Play:
    """Honest, but for the answer to HEAD."""

    def play(heard: Heard, connection: socket.socket) -> None:
        if heard.method == "HEAD":
            told = {"content_length": "100000", "etag": '"one"', **headers}
            connection.sendall(answer(200, **told))
        else:
            honest(DATA)(heard, connection)

    return play


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ({"content_length": str(10 * 1024**3)}, (413, "archive_too_large")),
        ({"content_length": str(ARCHIVE_BYTES + 1)}, (413, "archive_too_large")),
        ({"content_length": "0"}, (422, "empty_object")),
        ({"content_length": ""}, (422, "s3_bad_answer")),
        ({"etag": ""}, (422, "s3_bad_answer")),
        ({"etag": 'W/"one"'}, (422, "s3_bad_answer")),
        ({"content_length": "9" * 19}, (422, "s3_bad_answer")),
    ],
)
def test_what_cannot_be_taken_is_refused_before_a_byte_comes(
    fetch: Fetch, endpoint: Impostor, listed: Container, head: dict[str, str], expected: Any
) -> None:
    endpoint.play = with_head(**head)
    assert code(fetch()) == expected
    assert [each.method for each in endpoint.heard] == ["HEAD"]
    assert nothing_left(listed)


def test_no_more_is_fetched_than_may_be_stored(
    client: httpx.Client, endpoint: Impostor, container: Container, served: Served
) -> None:
    serving(served, container, endpoint.url, stored_bytes=99_999)
    body = {"uri": "s3://bucket/a.zip", "endpoint": endpoint.url, **SECRETS}
    assert code(client.post("/v1/uploads:s3", json=body)) == (413, "quota_exceeded")
    assert [each.method for each in endpoint.heard] == ["HEAD"]


def with_second_span(change: Callable[[Heard, socket.socket], None]) -> Play:
    """Honest, but for the second span."""

    def play(heard: Heard, connection: socket.socket) -> None:
        if heard.headers.get("range") == "bytes=30000-59999":
            change(heard, connection)
        else:
            honest(DATA)(heard, connection)

    return play


SPAN = {"content_range": "bytes 30000-59999/100000", "etag": '"one"'}
GOOD = DATA[30_000:60_000]


@pytest.mark.parametrize(
    ("spoken", "expected"),
    [
        (answer(206, GOOD, **{**SPAN, "etag": '"two"'}), "s3_object_changed"),
        (answer(206, GOOD, **{**SPAN, "etag": ""}), "s3_object_changed"),
        (answer(412, **SPAN), "s3_object_changed"),
        (answer(200, DATA, **{**SPAN, "content_range": ""}), "s3_bad_answer"),
        (answer(200, GOOD, **SPAN), "s3_bad_answer"),
        (answer(206, GOOD, **{**SPAN, "content_range": "bytes 0-29999/100000"}), "s3_bad_answer"),
        (answer(206, GOOD, **{**SPAN, "content_range": "bytes 30000-59999/*"}), "s3_bad_answer"),
        (answer(206, GOOD + b"more", **SPAN), "s3_bad_answer"),
        (answer(206, GOOD[1:], **SPAN), "s3_bad_answer"),
        (answer(206, content_length="", transfer_encoding="chunked", **SPAN), "s3_bad_answer"),
    ],
)
def test_other_bytes_than_those_asked_for_are_refused(
    fetch: Fetch, endpoint: Impostor, listed: Container, spoken: bytes, expected: str
) -> None:
    endpoint.play = with_second_span(lambda _, connection: connection.sendall(spoken))
    assert code(fetch()) == (422, expected)
    assert len(endpoint.heard) == 3
    assert nothing_left(listed)


def test_a_broken_connection_is_gone_on_from_where_it_broke(
    fetch: Fetch, endpoint: Impostor, listed: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts = iter([10_000, 0])

    def play(heard: Heard, connection: socket.socket) -> None:
        whole = answer(206, GOOD, **SPAN)
        connection.sendall(whole[: len(whole) - len(GOOD) + next(cuts)])

    monkeypatch.setattr(s3_import, "ATTEMPT_SECONDS", 0.01)
    endpoint.play = with_second_span(play)
    made = fetch(sha256=hashlib.sha256(DATA).hexdigest())
    assert made.status_code == 201, made.text
    asked = [each.headers.get("range") for each in endpoint.heard]
    assert asked[2:4] == ["bytes=30000-59999", "bytes=40000-69999"]


def test_an_endpoint_that_breaks_again_and_again_is_given_up(
    fetch: Fetch, endpoint: Impostor, listed: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_import, "ATTEMPT_SECONDS", 0.01)
    endpoint.play = with_second_span(lambda *_: None)
    assert code(fetch()) == (503, "fetch_failed")
    assert len(endpoint.heard) == 2 + s3_import.ATTEMPTS
    assert nothing_left(listed)


def drip(data: bytes, pause: float, slow: slice) -> Play:
    """Honest but slow, in a slice of every answer."""

    def play(heard: Heard, connection: socket.socket) -> None:
        connection.sendall(data[: slow.start])
        for byte in data[slow]:
            time.sleep(pause)
            connection.sendall(bytes([byte]))

    return play


@pytest.mark.parametrize("where", ["head of HEAD", "head of GET", "body", "error", "silence"])
def test_a_slow_endpoint_does_not_keep_anybody(
    fetch: Fetch,
    endpoint: Impostor,
    listed: Container,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    """A byte now and then is no sign of life: time is limited, not silence alone."""
    monkeypatch.setattr(s3_import, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(s3_import, "PACE_SECONDS", 0.5)
    monkeypatch.setattr(s3_answers, "WORDS_SECONDS", 0.5)
    whole = answer(206, GOOD, **SPAN)
    head = len(whole) - len(GOOD)
    slow = drip(whole, 0.05, slice(5, None) if where == "head of GET" else slice(head, None))
    played = {
        "head of HEAD": drip(whole, 0.05, slice(5, None)),
        "head of GET": with_second_span(slow),
        "body": with_second_span(slow),
        "error": with_second_span(drip(answer(404, b" " * 1000), 0.05, slice(60, None))),
        "silence": lambda *_: time.sleep(5),
    }
    endpoint.play = played[where]
    began = time.monotonic()
    expected = (422, "s3_not_found") if where == "error" else (503, "fetch_failed")
    assert code(fetch()) == expected
    assert time.monotonic() - began < 4
    assert nothing_left(listed)


def test_an_endpoint_that_nobody_listens_at_is_unavailable(
    client: httpx.Client, container: Container, served: Served
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    serving(served, container, url, part_bytes=PART)
    body = {"uri": "s3://bucket/a.zip", "endpoint": url, **SECRETS}
    refused = client.post("/v1/uploads:s3", json=body)
    assert code(refused) == (503, "fetch_failed")
    assert refused.headers["retry-after"]


def test_other_bytes_than_those_declared_are_not_kept(fetch: Fetch, listed: Container) -> None:
    assert code(fetch(sha256="0" * 64)) == (422, "digest_mismatch")
    assert nothing_left(listed)


def test_the_last_part_is_not_counted_before_all_is_judged(
    client: httpx.Client, endpoint: Impostor, container: Container, served: Served
) -> None:
    """Not even where it ends with a part."""
    made = serving(served, container, endpoint.url, part_bytes=50_000)
    kept: list[int] = []
    store = replace(made, store=Watched(made.store, kept))
    served.app.state.container = store
    body = {"uri": "s3://b-1/a.zip", "endpoint": endpoint.url, "sha256": "0" * 64, **SECRETS}
    assert code(client.post("/v1/uploads:s3", json=body)) == (422, "digest_mismatch")
    assert kept == [50_000]
    assert nothing_left(made)


class Watched:
    """A store that tells what is put into it."""

    def __init__(self, store: Any, kept: list[int]) -> None:
        self._store, self._kept = store, kept

    def put(self, key: str, source: Any) -> None:
        self._kept.append(source.stat().st_size)
        self._store.put(key, source)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def test_few_are_fetched_at_once(
    fetch: Fetch, endpoint: Impostor, listed: Container, served: Served
) -> None:
    with ExitStack() as stack:
        for _ in range(listed.settings.uploads.at_once):
            stack.enter_context(fetching._turn(listed))
        busy = fetch()
        assert code(busy) == (503, "busy")
        assert (busy.headers["retry-after"], endpoint.heard) == ("5", [])
    assert fetch().status_code == 201


def test_who_leaves_gets_nothing(
    fetch: Fetch,
    endpoint: Impostor,
    listed: Container,
    client: httpx.Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fetching, "LOOK_SECONDS", 0.0)
    whole = answer(206, GOOD, **SPAN)
    endpoint.play = with_second_span(drip(whole, 0.01, slice(len(whole) - 20_000, None)))
    body = {"uri": "s3://bucket/a.zip", "endpoint": endpoint.url, **SECRETS}
    with pytest.raises(httpx.ReadTimeout):
        client.post("/v1/uploads:s3", json=body, timeout=0.5)
    assert not nothing_left(listed)
    eventually(lambda: nothing_left(listed), seconds=5)  # long before it is called too slow


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


def test_without_a_bucket_there_are_no_forms(client: httpx.Client, container: Container) -> None:
    body = {"length": 5, "name": "a.zip"}
    for path in (":presign", f"/{UUID(int=0)}:complete"):
        refused = client.post(f"/v1/uploads{path}", json=body if path == ":presign" else None)
        assert (refused.status_code, refused.json()["code"]) == (409, "not_supported")
        assert "POST /v1/uploads" in refused.json()["detail"]
    assert nothing_left(container)
