"""Attacks on the way in itself: rows 26 to 33, bodies that are not what they say."""

from __future__ import annotations

import base64
import hashlib
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from tests.attacks import sockets
from tests.attacks.doors import (
    BOUNDARY,
    FORM,
    PAGE,
    TUS,
    Answer,
    form_around,
    piece,
    read,
    read_page,
)
from tests.attacks.scene import ARCHIVE_BYTES, Scene
from tests.unit.data.builders import dataset, zip_bytes

MIB = 1024**2
MOST_WAIT = 5.0  # seconds for two answers, on a busy machine; who is held up waits for ever
HONEST = zip_bytes(dataset(10))
ZIP = "Content-Type: application/zip"
REST = "/v1/datasets?name=x"
CODE_OF_TABLE = "The table says body_too_large; the service says what is too large."
SERVER = "Answered by the server that carries the service, before there is a request."
LEFT = "Whoever sent it has gone; nothing is kept."


@dataclass(frozen=True, slots=True)
class Request:
    """One request (or some) and what is right to answer.

    `cpu` is what it may cost, `makes` how many datasets it may leave.
    """

    row: int
    name: str
    door: str
    send: Callable[[Scene], Answer]
    status: int
    code: str
    why: str = ""
    cpu: float = 5.0
    makes: int = 0


def requests() -> Iterator[Request]:
    """All of them."""
    yield Request(26, "chunked, over the limit", "rest", _endless, 413, "archive_too_large",
                  CODE_OF_TABLE)  # fmt: skip
    yield from (
        Request(row, name, "rest", _raw(lines, body, shut=shut), status, code, why)
        for (row, name), (lines, body, shut, status, code, why) in RAW.items()
    )
    yield from (
        Request(30, name, "form", _form(body, headers), 400, code, cpu=1.0)
        for name, (headers, body, code) in FORMS.items()
    )
    yield from (
        Request(31, name, "form", _file_named(raw), 303, "accepted", makes=1)
        for name, raw in FILE_NAMES.items()
    )
    yield Request(29, "digest mismatch", "rest", _wrong_digest, 422, "digest_mismatch")
    yield Request(29, "digest mismatch", "tus", _wrong_promise, 422, "digest_mismatch")
    for door in ("rest", "form", "tus"):
        yield Request(33, "20 connections cut", door, _cut(door), 0, "", LEFT)
    yield Request(33, "200 slow heads", "rest", _slow_heads, 200, "accepted")
    yield Request(33, "40 slow bodies", "rest", _slow_bodies, 200, "accepted")


def _endless(scene: Scene) -> Answer:
    def body() -> Iterator[bytes]:
        for _ in range(ARCHIVE_BYTES // MIB + 8):
            yield bytes(MIB)

    media = {"Content-Type": "application/zip"}
    return read(scene.client.post(REST, content=body(), headers=media))


LONG = f"Content-Length: {len(HONEST)}"
CHUNKED = "Transfer-Encoding: chunked"
# Row and name: lines, body, whether this side is shut then; status, code, why.
RAW: Mapping[tuple[int, str], tuple[tuple[str, ...], bytes, bool, int, str, str]] = {
    (26, "announced, over the limit"): (
        (f"Content-Length: {2**40}",), b"", False, 413, "archive_too_large", CODE_OF_TABLE),
    (26, "a length of 30 digits"): (
        (f"Content-Length: {'9' * 30}",), b"x", False, 400, "", SERVER),
    (26, "a negative length"): (("Content-Length: -1",), b"x", False, 400, "", SERVER),
    (26, "a chunk of 2^72"): ((CHUNKED,), b"f" * 18 + b"\r\nx", True, 0, "", LEFT),
    (26, "a chunk of no number"): ((CHUNKED,), b"xyz\r\nx\r\n", False, 400, "", SERVER),
    (26, "chunks without an end"): ((CHUNKED,), b"1\r\nx\r\n" * 1_000, True, 0, "", LEFT),
    (27, "a length too long"): ((LONG,), HONEST[:-9], True, 0, "", LEFT),
    (27, "a length too short"): (
        ("Content-Length: 9",), HONEST, False, 422, "corrupt_archive",
        "What was announced is all that is read."),
    (28, "a length and chunks"): ((LONG, CHUNKED), HONEST, False, 400, "bad_request", ""),
    (28, "two lengths"): ((LONG, "Content-Length: 5"), HONEST, False, 400, "", SERVER),
}  # fmt: skip


def _raw(lines: tuple[str, ...], body: bytes, *, shut: bool) -> Callable[[Scene], Answer]:
    def send(scene: Scene) -> Answer:
        start = sockets.head(scene, "POST", REST, ZIP, *lines)
        return sockets.exchanged(scene, start + body, shut=shut)

    return send


HEAD, TAIL = form_around({"name": "x"})
GOOD = HEAD + b"PK" + TAIL
FIELD = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="'.encode()
FORMS: Mapping[str, tuple[Mapping[str, str], bytes, str]] = {
    "10 000 parts": (FORM, b"".join(FIELD + b'%d"\r\n\r\nx\r\n' % n for n in range(10_000)) + TAIL,
        "malformed_multipart"),
    "100 MiB text field": (FORM, FIELD + b'name"\r\n\r\n' + b"x" * (100 * MIB) + TAIL,
        "malformed_multipart"),
    "junk before the boundary": (FORM, b"junk" * MIB + GOOD, "malformed_multipart"),
    "dashes before the boundary": (FORM, b"\r\n--" * MIB + GOOD, "malformed_multipart"),
    "no boundary": ({"Content-Type": "multipart/form-data"}, GOOD, "malformed_multipart"),
    "boundary of 5 kB": (
        {"Content-Type": "multipart/form-data; boundary=" + "x" * 5_000}, GOOD,
        "malformed_multipart"),
    "a header of 10 MiB": (FORM, FIELD + b"x" * (10 * MIB) + b'"\r\n\r\n' + GOOD,
        "malformed_multipart"),
    "100 000 headers": (FORM, FIELD + b'a"\r\n' + b"x-a: b\r\n" * 100_000 + b"\r\n" + GOOD,
        "malformed_multipart"),
    "100 MiB after the end": (FORM, GOOD + b"more" * (25 * MIB), "malformed_multipart"),
    "cut": (FORM, GOOD[:-10], "incomplete_body"),
}  # fmt: skip


def _form(body: bytes, headers: Mapping[str, str]) -> Callable[[Scene], Answer]:
    def send(scene: Scene) -> Answer:
        return read_page(scene.client.post("/datasets", content=body, headers={**PAGE, **headers}))

    return send


FILE_NAMES = {
    "file name ../../x": b"../../x",
    "file name /etc/passwd": b"/etc/passwd",
    "file name of 10 kB": b"x" * 10_000,
    "file name C:\\x": b"C:\\x.zip",
    "file name with CR and LF": b"x%0d%0aSet-Cookie: a=b",
    "file name not UTF-8": b"\xff\xfe\x00",
}


def _file_named(name: bytes) -> Callable[[Scene], Answer]:
    def send(scene: Scene) -> Answer:
        start, end = form_around({"name": "x"}, name)
        return read_page(
            scene.client.post("/datasets", content=start + HONEST + end, headers=FORM)
        )

    return send


def _wrong_digest(scene: Scene) -> Answer:
    digest = base64.b64encode(hashlib.sha256(b"x").digest()).decode()
    headers = {"Content-Type": "application/zip", "Content-Digest": f"sha-256=:{digest}:"}
    return read(scene.client.post(REST, content=HONEST, headers=headers))


def begun(scene: Scene, length: int, **told: str) -> str:
    """The address of a new upload."""
    pairs = {name: base64.b64encode(text.encode()).decode() for name, text in told.items()}
    words = ",".join(f"{name} {value}" for name, value in pairs.items())
    headers = {**TUS, "Upload-Length": str(length), "Upload-Metadata": words}
    answer = scene.client.post("/v1/uploads", headers=headers)
    answer.raise_for_status()
    return str(answer.headers["location"])


def used(scene: Scene, address: str) -> Answer:
    """Make a dataset of an upload."""
    upload = address.rsplit("/", 1)[1]
    return read(scene.client.post("/v1/datasets", params={"name": "x", "upload": upload}))


def _wrong_promise(scene: Scene) -> Answer:
    address = begun(scene, len(HONEST), sha256=hashlib.sha256(b"x").hexdigest())
    scene.client.patch(address, content=HONEST, headers=piece(0, len(HONEST))).raise_for_status()
    return used(scene, address)


def _cut(door: str, times: int = 20) -> Callable[[Scene], Answer]:
    """Connections that break at a random byte of the body, some without a farewell."""

    def send(scene: Scene) -> Answer:
        dice = random.Random(door)
        for _ in range(times):
            method, path, body, lines = "POST", REST, HONEST, [ZIP]
            if door == "form":
                path, body = "/datasets", HEAD + HONEST + TAIL
                lines = [f"Content-Type: {FORM['Content-Type']}"]
            elif door == "tus":
                method, path = "PATCH", begun(scene, len(HONEST))
                lines = [f"{k}: {v}" for k, v in piece(0, len(HONEST)).items()][:-1]
            start = sockets.head(scene, method, path, *lines, f"Content-Length: {len(body)}")
            with sockets.connected(scene) as connection:
                connection.sendall(start + body[: dice.randrange(len(body))])
                if dice.random() < 0.5:
                    sockets.reset(connection)
            if door == "tus":
                scene.settled()
                scene.drop_uploads()
        return sockets.GONE

    return send


def _slow_heads(scene: Scene) -> Answer:
    return _while_held(scene, sockets.head(scene, "POST", REST, ZIP)[:-2], 200)


def _slow_bodies(scene: Scene) -> Answer:
    return _while_held(scene, sockets.head(scene, "POST", REST, ZIP, LONG) + HONEST[:100], 40)


def _while_held(scene: Scene, start: bytes, count: int) -> Answer:
    """What an honest client is told, and how soon, while so many others say a byte at a time."""
    slowest, held = 0.0, [sockets.connected(scene) for _ in range(count)]
    connections = [each.__enter__() for each in held]
    try:
        for connection in connections:
            connection.sendall(start)
        for turn in range(10):
            for connection in connections:
                connection.sendall(b"X"[:1])
            began = time.monotonic()
            scene.client.get("/healthz").raise_for_status()
            scene.client.get("/v1/datasets").raise_for_status()
            slowest = max(slowest, time.monotonic() - began)
            time.sleep(0.05 * (turn < 9))
        answer = read(scene.client.get("/v1/datasets"))
    finally:
        for each in held:
            each.__exit__(None, None, None)
    wrong = f"others waited {slowest:.1f} s" if slowest > MOST_WAIT else answer.wrong
    return Answer(answer.status, answer.code, wrong)
