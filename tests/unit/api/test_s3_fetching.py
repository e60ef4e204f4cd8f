"""Imports from S3: whatever the endpoint does, all of the object comes, or nothing stays."""

import hashlib
import json
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from http.client import HTTPConnection
from typing import Any
from uuid import UUID

import httpx
import pytest

from api import fetching, pieces
from core.bootstrap import Container
from core.domain import keys
from core.domain.identity import DEFAULT
from core.storage import s3_answers, s3_import
from tests.fixtures.impostor import Heard, Impostor, Play, answer, honest
from tests.unit.api import archives
from tests.unit.api.conftest import ARCHIVE_BYTES, Served
from tests.unit.api.fetches import (
    DATA,
    PART,
    SECRETS,
    Fetch,
    code,
    endpoint,
    fetch,
    listed,
    nothing_left,
    serving,
)
from tests.unit.execution.bench import eventually

__all__ = ["endpoint", "fetch", "listed"]


def test_an_object_becomes_a_complete_upload(
    fetch: Fetch, endpoint: Impostor, listed: Container, client: httpx.Client
) -> None:
    made = fetch(sha256=hashlib.sha256(DATA).hexdigest())
    assert made.status_code == 201, made.text
    shown = made.json()
    assert (shown["name"], shown["length"], shown["received"]) == ("a.zip", 100_000, 100_000)
    assert shown["state"] == "complete"
    assert client.get(made.headers["location"]).json() == shown
    parts = sorted(listed.store.listing(keys.uploads(DEFAULT)), key=lambda each: each.key)
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
LONGER = b"%x\r\n%b\r\n0\r\n\r\n" % (len(GOOD) + 4, GOOD + b"more")


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
        (
            answer(206, LONGER, content_length="30000", transfer_encoding="chunked", **SPAN),
            "s3_bad_answer",
        ),
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
    assert time.monotonic() - began < 8
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
            stack.enter_context(listed.fetches)
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
    headers = {"Content-Type": "application/json"}
    with closing(HTTPConnection("127.0.0.1", client.base_url.port)) as connection:
        connection.request("POST", "/v1/uploads:s3", json.dumps(body), headers)
        eventually(lambda: len(endpoint.heard) == 3)
    assert not nothing_left(listed)
    eventually(lambda: nothing_left(listed), seconds=5)  # long before it is called too slow


def test_without_a_bucket_there_are_no_forms(client: httpx.Client, container: Container) -> None:
    body = {"length": 5, "name": "a.zip"}
    for path in (":presign", f"/{UUID(int=0)}:complete"):
        refused = client.post(f"/v1/uploads{path}", json=body if path == ":presign" else None)
        assert (refused.status_code, refused.json()["code"]) == (409, "not_supported")
        assert "POST /v1/uploads" in refused.json()["detail"]
    assert nothing_left(container)
