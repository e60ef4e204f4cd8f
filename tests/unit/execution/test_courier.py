"""How one message is carried: signed, to the address that was judged, bounded in every way."""

import asyncio
import json
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr
from standardwebhooks import Webhook, WebhookVerificationError

from core.domain.webhooks import DeliveryId, Fault, Outcome, Outgoing, WebhookId, shown
from core.execution import courier
from core.execution.courier import Courier
from core.execution.reach import Reach
from core.services.sealing import Seal
from tests.fixtures.hosts import Names, certificate
from tests.fixtures.impostor import Heard, Impostor, Play, answer, impostor

__all__ = ["certificate"]

SEAL = Seal(SecretStr("k" * 32))
DOCS = Path(__file__).parents[3] / "docs" / "webhooks.md"
SECRETS = (b"n" * 32, b"o" * 32)
BODY = json.dumps({"type": "job.succeeded", "data": {"name": "Zoë"}})
NOWHERE = UUID(int=0)


def message(url: str, *, secrets: tuple[bytes, ...] = SECRETS[:1]) -> Outgoing:
    sealed = tuple(SEAL.close(each) for each in secrets)
    ids = DeliveryId(NOWHERE), WebhookId(NOWHERE)
    return Outgoing(*ids, 1, "msg_one", BODY, url, sealed)


def sent(
    url: str, *, secrets: tuple[bytes, ...] = SECRETS[:1], reach: Reach | None = None
) -> Outcome:
    carrier = Courier(reach or Reach(private=True, loopback=True), SEAL)
    return asyncio.run(carrier.deliver(message(url, secrets=secrets)))


def saying(whole: bytes) -> Play:
    return lambda _, connection: connection.sendall(whole)


@pytest.fixture
def receiver() -> Iterator[Impostor]:
    with impostor(saying(answer(204))) as made:
        yield made


def test_an_independent_library_believes_the_message(receiver: Impostor) -> None:
    outcome = sent(f"{receiver.url}/in?for=us", secrets=SECRETS)
    assert outcome.delivered
    assert outcome.attempt.status == 204
    (heard,) = receiver.heard
    assert (heard.method, heard.path, heard.headers["host"]) == (
        *("POST", "/in?for=us"),
        f"127.0.0.1:{receiver.port}",
    )
    assert heard.headers["content-type"] == "application/json"
    for secret in SECRETS:  # one of them may be the one before
        assert Webhook(shown(secret)).verify(heard.body, heard.headers) == json.loads(BODY)
    with pytest.raises(WebhookVerificationError):
        Webhook(shown(b"x" * 32)).verify(heard.body, heard.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(shown(SECRETS[0])).verify(heard.body + b" ", heard.headers)


def test_receivers_may_do_as_the_guide_says(receiver: Impostor) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    shown_by_guide: dict[str, Any] = {}
    exec(program, shown_by_guide)
    sent(receiver.url)
    (heard,) = receiver.heard
    payload = shown_by_guide["received"](shown(SECRETS[0]), heard.headers, heard.body)
    assert payload == json.loads(BODY)


@pytest.mark.parametrize(
    ("status", "fault"),
    [(200, None), (299, None), (304, Fault.REDIRECT), (404, Fault.STATUS), (500, Fault.STATUS)],
)
def test_only_2xx_is_success(receiver: Impostor, status: int, fault: Fault | None) -> None:
    receiver.play = saying(answer(status))
    attempt = sent(receiver.url).attempt
    assert (attempt.status, attempt.fault) == (status, fault)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(receiver: Impostor, status: int) -> None:
    with impostor(saying(answer(200))) as metadata:
        receiver.play = saying(answer(status, location=f"{metadata.url}/latest/meta-data"))
        assert sent(receiver.url).attempt.fault is Fault.REDIRECT
        assert metadata.heard == []


def test_gone_is_told(receiver: Impostor) -> None:
    receiver.play = saying(answer(410))
    assert sent(receiver.url).gone


def test_what_it_asks_for_is_told(receiver: Impostor) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=600), usegmt=True)
    for said, least, most in (
        ("120", 120, 120),
        (later, 590, 600),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0, 0),
        ("Thu, 01 Jan 1" + "0" * 20 + " 00:00:00 GMT", 0, 0),
        ("soon", 0, 0),
        ("-5", 0, 0),
        ("9" * 400, 1, 1e9),
    ):
        receiver.play = saying(answer(503, retry_after=said))
        assert least <= sent(receiver.url).retry_after <= most, said


def test_what_was_judged_is_what_is_connected_to(
    receiver: Impostor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that leads elsewhere at the second look (DNS rebinding) is not looked up twice."""
    names = Names(monkeypatch, "127.0.0.1", "169.254.169.254", name="localhost")
    assert sent(f"http://localhost:{receiver.port}/").delivered
    assert (names.asked, receiver.heard[0].headers["host"]) == (1, f"localhost:{receiver.port}")
    assert sent(f"http://localhost:{receiver.port}/").attempt.fault is Fault.NOT_ALLOWED
    assert (names.asked, len(receiver.heard)) == (2, 1)


def test_a_public_name_that_leads_to_this_machine_is_refused(
    receiver: Impostor, monkeypatch: pytest.MonkeyPatch
) -> None:
    Names(monkeypatch, "127.0.0.1", name="hooks.example")
    url = f"https://hooks.example:{receiver.port}/"
    for reach in (Reach(), Reach(private=True)):
        assert sent(url, reach=reach).attempt.fault is Fault.NOT_ALLOWED
    assert receiver.heard == []


@pytest.mark.parametrize(
    ("name", "fault"), [("store.example", None), ("other.example", Fault.CERTIFICATE)]
)
def test_a_certificate_is_held_to_the_name_and_not_to_the_address(
    monkeypatch: pytest.MonkeyPatch, certificate: Path, name: str, fault: Fault | None
) -> None:
    Names(monkeypatch, "127.0.0.1", name=name)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    with impostor(saying(answer(200)), secured=context) as receiver:
        assert sent(f"https://{name}:{receiver.port}/").attempt.fault is fault
        assert len(receiver.heard) == (fault is None)


def test_a_certificate_of_nobody_is_refused(
    monkeypatch: pytest.MonkeyPatch, certificate: Path
) -> None:
    Names(monkeypatch, "127.0.0.1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    with impostor(saying(answer(200)), secured=context) as receiver:
        url = f"https://store.example:{receiver.port}/"
        assert sent(url).attempt.fault is Fault.CERTIFICATE


def test_no_proxy_of_the_environment_hears_of_it(
    receiver: Impostor, monkeypatch: pytest.MonkeyPatch
) -> None:
    with impostor(saying(answer(200))) as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
            monkeypatch.setenv(name.lower(), proxy.url)
        assert sent(receiver.url).delivered
        assert (proxy.heard, len(receiver.heard)) == ([], 1)


def test_slow_receivers_are_given_up(receiver: Impostor, monkeypatch: pytest.MonkeyPatch) -> None:
    """However little they send, and so however short each wait for more of it is."""
    monkeypatch.setattr(courier, "TOTAL_SECONDS", 0.3)
    over = threading.Event()

    def dawdle(_: Heard, connection: socket.socket) -> None:
        for each in answer(200, x_long="x" * 1_000):
            connection.sendall(bytes([each]))
            if over.wait(0.05):
                break

    def say_nothing(_: Heard, __: socket.socket) -> None:
        over.wait(5)

    for play in (dawdle, say_nothing):
        receiver.play = play
        assert sent(receiver.url).attempt.fault is Fault.TIMEOUT
    over.set()


def test_of_a_body_little_is_read(receiver: Impostor, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said after the status changes nothing: neither much of it, nor a slow end."""
    monkeypatch.setattr(courier, "READ_SECONDS", 0.2)
    passed, over = [], threading.Event()

    def pour(heard: Heard, connection: socket.socket) -> None:
        connection.sendall(answer(200, content_length=str(10**9)))
        with suppress(OSError):
            for _ in range(1_000):
                connection.sendall(b"x" * 65_536)
                passed.append(65_536)

    def trickle(_: Heard, connection: socket.socket) -> None:
        connection.sendall(answer(200, content_length="1000"))
        over.wait(5)

    for play in (pour, trickle):
        receiver.play = play
        assert sent(receiver.url).attempt.status == 200
    over.set()
    assert sum(passed) < 32 * 1024**2  # what the machine's buffers take, not the whole of it


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        (b"", Fault.BROKEN),
        (b"SSH-2.0-OpenSSH\r\n\r\n", Fault.BROKEN),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000, Fault.BROKEN),
    ],
)
def test_what_does_not_speak_http_is_broken(receiver: Impostor, said: bytes, fault: Fault) -> None:
    receiver.play = saying(said)
    assert sent(receiver.url).attempt.fault is fault


def test_whoever_is_not_there_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert sent(f"http://127.0.0.1:{port}/").attempt.fault is Fault.UNREACHABLE

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert sent("https://no.example/").attempt.fault is Fault.UNKNOWN_HOST


def test_a_secret_of_another_key_sends_nothing(receiver: Impostor) -> None:
    stranger = Courier(Reach(private=True, loopback=True), Seal(SecretStr("x" * 32)))
    outcome = asyncio.run(stranger.deliver(message(receiver.url)))
    assert (outcome.attempt.fault, receiver.heard) == (Fault.SEALED, [])


def test_keys_are_rotated() -> None:
    old, new = "o" * 32, "n" * 32
    sealed = Seal(SecretStr(old)).close(b"secret")
    both = Seal(SecretStr(f"{new}, {old}"))
    assert both.open(sealed) == b"secret"
    assert Seal(SecretStr(new)).open(both.close(b"secret")) == b"secret"
    assert b"secret" not in sealed.encode()
