"""Attacks on what the service keeps or reaches: row 32 (tus), 37 (ids), 42 to 45 (endpoints),
51 (names), 54 (its log), 58 (states)."""

from __future__ import annotations

import base64
import hashlib
import html
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import httpx
from sqlalchemy import update

from core.db.clock import now
from core.db.upload_tables import UploadRow
from tests.attacks import sockets
from tests.attacks.doors import FORM, TUS, Answer, form_around, piece, read
from tests.attacks.scene import FORGED, Scene, unlike_json
from tests.attacks.transport import HONEST, Request, begun, used
from tests.unit.api.test_s3_endpoints import spellings
from tests.unit.data.builders import dataset, zip_bytes

PATIENCE = 20.0
Ask = Callable[[Scene, str], httpx.Response]


def requests() -> Iterator[Request]:
    """All of them."""
    for name, (ask, status, code) in PIECES.items():
        yield Request(32, name, "tus", partial(_of_half, ask), status, code)
    for name, (headers, status, code) in BEGINNINGS.items():
        yield Request(32, name, "tus", partial(_beginning, headers), status, code)
    yield Request(32, "two at once", "tus", _two_at_once, 423, "upload_busy")
    yield Request(37, "ids of every kind", "rest", partial(_ids, "rest"), 404, "not_found")
    yield Request(37, "ids of every kind", "tus", partial(_ids, "tus"), 404, "not_found")
    yield Request(42, "endpoints of every kind", "rest", _endpoints, 422, "url_not_allowed")
    yield Request(51, "names shown in pages", "form", _names, 303, "accepted",
                  cpu=5.0 * len(NAMES), makes=len(NAMES))  # fmt: skip
    yield Request(51, "names that cannot be", "rest", _bad_names, 422, "validation_error")
    yield Request(54, "lines in names", "tus", _log_lines, 200, "accepted")
    yield Request(58, "dataset in use deleted", "rest", _delete_in_use, 409, "dataset_in_use",
                  makes=1)  # fmt: skip
    yield Request(58, "dataset deleted twice", "rest", _delete_dataset, 410, "dataset_deleted",
                  makes=1)  # fmt: skip
    for name, (ask, status, code) in STATES.items():
        yield Request(58, name, "tus", partial(_of_half, ask), status, code, makes=1)


def _of_half(ask: Ask, scene: Scene) -> Answer:
    """What is answered of an upload that has its first half."""
    address, half = begun(scene, len(HONEST)), len(HONEST) // 2
    sent(scene, address, 0, HONEST[:half]).raise_for_status()
    return read(ask(scene, address))


def sent(scene: Scene, address: str, start: int, data: bytes, **more: str) -> httpx.Response:
    """A piece."""
    headers = {**piece(start, len(data)), **{n.replace("_", "-"): v for n, v in more.items()}}
    return scene.client.patch(address, content=data, headers=headers)


def _at(start: int, **more: str) -> Ask:
    return lambda scene, address: sent(scene, address, start, HONEST[:100], **more)


def _wrong_sum(scene: Scene, address: str) -> httpx.Response:
    digest = base64.b64encode(hashlib.sha256(b"x").digest()).decode()
    return sent(scene, address, HALF, HONEST[HALF:], Upload_Checksum=f"sha256 {digest}")


def _too_big(scene: Scene, address: str) -> httpx.Response:
    return sent(scene, address, HALF, HONEST)


def _endless(scene: Scene, address: str) -> httpx.Response:
    headers = {k: v for k, v in piece(HALF, 0).items() if k != "Content-Length"}
    body = (bytes(1024**2) for _ in range(300))
    return scene.client.patch(address, content=body, headers=headers)


def _expired(scene: Scene, address: str) -> httpx.Response:
    with scene.server.container.sessions.begin() as session:
        mine = UploadRow.id == UUID(address.rsplit("/", 1)[1])
        session.execute(update(UploadRow).where(mine).values(expires_at=now(-1.0)))
    return _at(HALF)(scene, address)


def _unknown(scene: Scene, address: str) -> httpx.Response:
    return _at(0)(scene, f"/v1/uploads/{uuid4()}")


HALF = len(HONEST) // 2
PIECES: dict[str, tuple[Ask, int, str]] = {
    "a gap": (_at(HALF + 1), 409, "wrong_offset"),
    "again what is there": (_at(0), 409, "wrong_offset"),
    "a checksum that is wrong": (_wrong_sum, 460, "checksum_mismatch"),
    "more than announced": (_too_big, 413, "archive_too_large"),
    "chunks without an end": (_endless, 413, "archive_too_large"),
    "expired": (_expired, 410, "upload_expired"),
    "of another version": (_at(HALF, Tus_Resumable="0.2.2"), 412, "unsupported_version"),
    "of another type": (_at(HALF, Content_Type="text/html"), 415, "unsupported_media_type"),
    "an offset of 30 digits": (_at(HALF, Upload_Offset="9" * 30), 422, "invalid_header"),
    "a negative offset": (_at(HALF, Upload_Offset="-1"), 422, "invalid_header"),
    "an unknown checksum": (_at(HALF, Upload_Checksum="crc32 AAAA"), 422, "invalid_header"),
    "unknown": (_unknown, 404, "not_found"),
}
BEGINNINGS = {
    "too big": ({"Upload-Length": str(2**40)}, 413, "archive_too_large"),
    "a length of 30 digits": ({"Upload-Length": "9" * 30}, 422, "invalid_header"),
    "no length": ({"Upload-Defer-Length": "1"}, 422, "invalid_header"),
    "metadata that is none": (
        {"Upload-Length": "9", "Upload-Metadata": "filename ###"}, 422, "invalid_header"
    ),
    "metadata of 60 kB": (
        {"Upload-Length": "9", "Upload-Metadata": "filename " + "QUFB" * 15_000},
        422, "invalid_header",
    ),
    "metadata of 1 MiB": (
        {"Upload-Length": "9", "Upload-Metadata": "filename " + "QUFB" * 2**18}, 400, ""
    ),
}  # fmt: skip


def _beginning(headers: dict[str, str], scene: Scene) -> Answer:
    start = sockets.head(
        scene, "POST", "/v1/uploads", *(f"{k}: {v}" for k, v in {**TUS, **headers}.items()),
        "Content-Length: 0",
    )  # fmt: skip
    return sockets.exchanged(scene, start)


def _two_at_once(scene: Scene) -> Answer:
    """A second request for what another is sending."""
    address, answered = begun(scene, len(HONEST)), threading.Event()

    def slowly() -> Iterator[bytes]:
        yield HONEST[:10]
        answered.wait(PATIENCE)
        yield HONEST[10:]

    def first() -> None:
        with httpx.Client(base_url=scene.server.url, timeout=60, trust_env=False) as client:
            client.patch(address, content=slowly(), headers=piece(0, len(HONEST)))

    sender = threading.Thread(target=first)
    sender.start()
    try:
        deadline = time.monotonic() + PATIENCE
        while not _held(scene, address) and time.monotonic() < deadline:
            time.sleep(0.01)
        return read(sent(scene, address, 0, HONEST))
    finally:
        answered.set()
        sender.join()


def _held(scene: Scene, address: str) -> bool:
    with scene.server.container.sessions.read() as session:
        row = session.get(UploadRow, UUID(address.rsplit("/", 1)[1]))
        return row is not None and row.busy_token is not None


IDS = (
    "1", "x", "0" * 36, str(uuid4()), f"{{{uuid4()}}}", "..%2f..%2fetc%2fpasswd", "%2e%2e%2f",
    "%252e%252e%252f", "a" * 10_000, "%00", "%0d%0aX-A: b", "%ff%fe", "1'%20OR%20'1'='1", "-1",
    "9" * 40, "null", "🙈", "%F0%9F%99%88",
)  # fmt: skip
REFUSED_ID = {400, 404, 405, 422}


def _ids(door: str, scene: Scene) -> Answer:
    """No id is more than unknown."""
    asked = _asked_by_tus if door == "tus" else _asked_by_rest
    told = [(each, answer.status) for each in IDS for answer in asked(scene, each)]
    wrong = [f"{status} for {each[:30]!a}" for each, status in told if status not in REFUSED_ID]
    known = read(scene.client.get(f"/v1/datasets/{uuid4()}"))
    return Answer(known.status, known.code, "; ".join(wrong[:3]))


def _asked_by_tus(scene: Scene, each: str) -> Iterator[Answer]:
    path = f"/v1/uploads/{quote(each, safe='%')}"
    lines = [f"{name}: {value}" for name, value in piece(0, 1).items()]
    yield _asked(scene, "PATCH", path, *lines, body=b"x")
    for method in ("DELETE", "HEAD", "GET"):
        yield _asked(scene, method, path, "Tus-Resumable: 1.0.0")


def _asked_by_rest(scene: Scene, each: str) -> Iterator[Answer]:
    plain = quote(each, safe="%")
    for path in (f"/v1/datasets/{plain}", f"/v1/datasets/{plain}/export", f"/datasets/{plain}"):
        yield _asked(scene, "GET", path)
    yield _asked(scene, "POST", f"/v1/datasets?name=x&upload={plain}", "Content-Length: 0")


def _asked(scene: Scene, method: str, path: str, *lines: str, body: bytes = b"") -> Answer:
    start = sockets.head(scene, method, path, "Connection: close", *lines)
    return sockets.exchanged(scene, start + body)


def _endpoints(scene: Scene) -> Answer:
    """None is listed, so none is reached, the service itself least of all."""
    asked = {"uri": "s3://bucket/a.zip", "access_key": "a", "secret_key": "b"}
    answers = {
        each: read(scene.client.post("/v1/uploads:s3", json={**asked, "endpoint": each}))
        for each in spellings(httpx.URL(scene.server.url).port or 80)
    }
    odd = [
        f"{answer.status} {answer.code} for {each!a}"
        for each, answer in answers.items()
        if (answer.status, answer.code) != (422, "url_not_allowed")
    ]
    return replace(next(iter(answers.values())), wrong="; ".join(odd[:3]))


NAMES = (
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{7*7}}", "${jndi:ldap://x}",
    "=HYPERLINK(A1)", "'; DROP TABLE datasets; --",
)  # fmt: skip


def _names(scene: Scene) -> Answer:
    """Each is shown as it is written, and does nothing."""
    wrong: list[str] = []
    status, code = 303, "accepted"
    for number, name in enumerate(NAMES):
        archive = zip_bytes(dataset(5, classes=(f"a{number}", "b")))
        start, end = form_around({"name": name})
        made = scene.client.post("/datasets", content=start + archive + end, headers=FORM)
        if made.status_code != 303:
            status, code = made.status_code, ""
            continue
        for path in ("/", made.headers["location"]):
            wrong += _shown(scene.client.get(path), name)
    return Answer(status, code, "; ".join(wrong[:3]))


def _shown(page: httpx.Response, name: str) -> Sequence[str]:
    if "<" in name and name in page.text:
        return (f"{name!r} is not escaped",)
    if name not in html.unescape(page.text):
        return (f"{name!r} is not shown",)
    if "default-src 'none'" not in page.headers.get("content-security-policy", ""):
        return ("a page without its policy",)
    return ()


BAD_NAMES = ("a\r\nSet-Cookie: a=b", "a\0b", "\x1b[2J", "a\u202eb", "x" * 121, "")


def _bad_names(scene: Scene) -> Answer:
    media = {"Content-Type": "application/zip"}
    answers = [
        read(scene.client.post("/v1/datasets", params={"name": n}, content=HONEST, headers=media))
        for n in BAD_NAMES
    ]
    odd = [each for each in answers if (each.status, each.code) != (422, "validation_error")]
    return odd[0] if odd else answers[0]


def _log_lines(scene: Scene) -> Answer:
    """Nothing that a request says becomes a line of its own."""
    forged = f'x\r\n{{"{FORGED}": 1}}\n{FORGED}\x1b[31m'
    before = len(scene.log())
    headers = {
        **TUS, "Upload-Length": "9",
        "Upload-Metadata": f"filename {base64.b64encode(forged.encode()).decode()}",
    }  # fmt: skip
    wrong = []
    for answer in (
        scene.client.post("/v1/uploads", headers=headers),
        scene.client.get(f"/v1/datasets/{quote(forged)}"),
        scene.client.post(f"/v1/datasets?name={quote(forged)}"),
        scene.client.post("/v1/searches", json={forged: forged}),
        scene.client.post("/datasets", content=b"".join(form_around({forged: "x"})), headers=FORM),
        scene.client.get("/v1/datasets", headers={"X-Request-Id": quote(forged)}),
    ):
        wrong += [f"{answer.status_code}"] if answer.status_code >= 500 else []
    wrong += [ascii(each)[:60] for each in unlike_json(scene.log()[before:])]
    answer = read(scene.client.get("/v1/datasets"))
    return Answer(answer.status, answer.code, "; ".join(wrong[:3]))


def _use_early(scene: Scene, address: str) -> httpx.Response:
    upload = address.rsplit("/", 1)[1]
    return scene.client.post("/v1/datasets", params={"name": "x", "upload": upload})


def _delete_twice(scene: Scene, address: str) -> httpx.Response:
    scene.client.delete(address, headers=TUS).raise_for_status()
    return scene.client.delete(address, headers=TUS)


def _after_its_end(scene: Scene, address: str) -> httpx.Response:
    sent(scene, address, HALF, HONEST[HALF:]).raise_for_status()
    return sent(scene, address, len(HONEST), b"x")


def _use_twice(scene: Scene, address: str) -> httpx.Response:
    sent(scene, address, HALF, HONEST[HALF:]).raise_for_status()
    used(scene, address)
    return _use_early(scene, address)


def _made(scene: Scene, *classes: str) -> dict[str, Any]:
    archive, media = zip_bytes(dataset(5, classes=classes)), {"Content-Type": "application/zip"}
    answer = scene.client.post("/v1/datasets?name=x", content=archive, headers=media)
    answer.raise_for_status()
    made: dict[str, Any] = answer.json()
    return made


def _delete_in_use(scene: Scene) -> Answer:
    """Its embed job waits."""
    return read(scene.client.delete(f"/v1/datasets/{_made(scene, 'p', 'q')['id']}"))


def _delete_dataset(scene: Scene) -> Answer:
    made = _made(scene, "r", "s")
    scene.client.post(f"/v1/jobs/{made['embed_job']['id']}:cancel").raise_for_status()
    scene.client.delete(f"/v1/datasets/{made['id']}").raise_for_status()
    return read(scene.client.delete(f"/v1/datasets/{made['id']}"))


STATES: dict[str, tuple[Ask, int, str]] = {
    "used before it is whole": (_use_early, 409, "upload_incomplete"),
    "deleted twice": (_delete_twice, 404, "not_found"),
    "added to when whole": (_after_its_end, 413, "archive_too_large"),
    "used twice": (_use_twice, 404, "not_found"),
}
