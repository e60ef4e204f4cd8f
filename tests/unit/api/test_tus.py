"""Uploads in pieces: whatever is cut, refused or tried twice, the bytes in the end are right."""

import base64
import hashlib
import random
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import pytest
from sqlalchemy import update

from api import pieces
from core.bootstrap import Container
from core.db.clock import now
from core.db.upload_tables import UploadRow
from core.domain import keys
from core.domain.identity import DEFAULT
from core.execution import collector
from core.services import uploads
from tests.unit.api import archives
from tests.unit.api.conftest import ARCHIVE_BYTES, Served
from tests.unit.execution.bench import eventually

TUS = {"Tus-Resumable": "1.0.0"}
PIECE = {**TUS, "Content-Type": "application/offset+octet-stream"}
DATA = random.Random(0).randbytes(100_000)
Create = Callable[..., str]


def said(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.fixture
def create(client: httpx.Client) -> Create:
    def run(length: int = len(DATA), **told: str) -> str:
        metadata = ",".join(f"{key} {said(value)}" for key, value in told.items())
        headers = {**TUS, "Upload-Length": str(length), "Upload-Metadata": metadata}
        answer = client.post("/v1/uploads", headers=headers)
        assert answer.status_code == 201, answer.text
        assert answer.headers["tus-resumable"] == "1.0.0"
        return answer.headers["location"]

    return run


def id_of(address: str) -> UUID:
    return UUID(address.rsplit("/", 1)[1])


def offset(client: httpx.Client, address: str) -> int:
    answer = client.head(address, headers=TUS)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    return int(answer.headers["upload-offset"])


def send(
    client: httpx.Client, address: str, start: int, data: bytes, **more: str
) -> httpx.Response:
    headers = {**PIECE, "Upload-Offset": str(start), **more}
    return client.patch(address, content=data, headers=headers)


def stored(container: Container, address: str) -> bytes:
    with pieces.assembled(container, [id_of(address)]) as (path,):
        return path.read_bytes()


def objects(container: Container) -> list[str]:
    return [each.key for each in container.store.listing(keys.uploads(DEFAULT))]


def leftovers(container: Container) -> list[Path]:
    return [path for path in (container.settings.home / "scratch").rglob("*") if path.is_file()]


def test_the_server_says_what_it_can(client: httpx.Client) -> None:
    answer = client.options("/v1/uploads")
    assert answer.status_code == 204
    assert answer.headers["tus-version"] == "1.0.0"
    assert set(answer.headers["tus-extension"].split(",")) == {
        "creation", "expiration", "checksum", "termination",
    }  # fmt: skip
    assert answer.headers["tus-max-size"] == str(ARCHIVE_BYTES)
    assert answer.headers["tus-checksum-algorithm"] == "sha256,sha1"


def test_a_file_in_pieces_becomes_a_dataset(client: httpx.Client, container: Container) -> None:
    data = archives.zipped(archives.class_folders())
    metadata = f"filename {said('Tiere.zip')},sha256 {said(hashlib.sha256(data).hexdigest())}"
    headers = {**TUS, "Upload-Length": str(len(data)), "Upload-Metadata": metadata}
    address = client.post("/v1/uploads", headers=headers).headers["location"]
    for start in range(0, len(data), 1_000):
        answer = send(client, address, start, data[start : start + 1_000])
        assert (answer.status_code, answer.content) == (204, b"")
        assert int(answer.headers["upload-offset"]) == min(start + 1_000, len(data))
    shown = client.get(address).json()
    assert (shown["name"], shown["state"]) == ("Tiere.zip", "complete")
    made = client.post(f"/v1/datasets?name=Tiere&upload={shown['id']}")
    assert made.status_code == 201, made.text
    assert made.json()["classes"] == ["cat", "dog"]
    same = client.post(
        "/v1/datasets?name=x", content=data, headers={"Content-Type": "application/zip"}
    )
    assert (same.status_code, same.json()["id"]) == (200, made.json()["id"])
    assert client.head(address, headers=TUS).status_code == 404  # it has become a dataset
    assert (objects(container), leftovers(container)) == ([], [])


def test_several_files_become_one_dataset(client: httpx.Client, container: Container) -> None:
    """Their names say which is which."""
    ids = []
    for index, name in enumerate(("train", "test")):
        files = {n: archives.png(100 * index + i) for i, n in enumerate(archives.class_folders())}
        data = archives.zipped(files)
        told = f"filename {said(f'../{name}.zip')}"
        headers = {**TUS, "Upload-Length": str(len(data)), "Upload-Metadata": told}
        address = client.post("/v1/uploads", headers=headers).headers["location"]
        assert send(client, address, 0, data).status_code == 204
        ids.append(address.rsplit("/", 1)[1])
    made = client.post(f"/v1/datasets?name=both&upload={ids[0]}&upload={ids[1]}")
    assert made.status_code == 201, made.text
    assert (made.json()["n_train"], made.json()["n_test"]) == (12, 12)
    assert made.json()["report"]["split"] == "given"
    assert (objects(container), leftovers(container)) == ([], [])


def test_a_refused_archive_stays_to_be_tried_with_other_options(client: httpx.Client) -> None:
    files = {**archives.class_folders(), "cat/bad.png": b"no image"}
    data = archives.zipped(files)
    headers = {**TUS, "Upload-Length": str(len(data))}
    address = client.post("/v1/uploads", headers=headers).headers["location"]
    send(client, address, 0, data)
    name = f"/v1/datasets?name=x&upload={address.rsplit('/', 1)[1]}"
    refused = client.post(name)
    assert (refused.status_code, refused.json()["code"]) == (422, "bad_image")
    assert client.post(f"{name}&unreadable_share=0.5").status_code == 201


def test_a_body_beside_uploads_is_refused_and_not_lost(
    client: httpx.Client, create: Create
) -> None:
    upload = create().rsplit("/", 1)[1]
    for content in (b"PK", iter([b"PK"])):
        headers = {"Content-Type": "application/zip"}
        answer = client.post(
            f"/v1/datasets?name=x&upload={upload}", content=content, headers=headers
        )
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
        assert answer.json()["errors"][0]["place"] == "query.upload"


@pytest.mark.parametrize("how", ["incomplete", "unknown"])
def test_what_is_not_all_there_becomes_nothing(
    client: httpx.Client, create: Create, how: str
) -> None:
    upload = create().rsplit("/", 1)[1] if how == "incomplete" else "0" * 32
    answer = client.post(f"/v1/datasets?name=x&upload={upload}")
    expected = (409, "upload_incomplete") if how == "incomplete" else (404, "not_found")
    assert (answer.status_code, answer.json()["code"]) == expected


def cut(client: httpx.Client, address: str, start: int, data: bytes, after: int) -> None:
    """A request whose connection breaks after so many bytes of its body."""
    place = urlsplit(str(client.base_url))
    lines = [
        f"PATCH {address} HTTP/1.1", f"Host: {place.netloc}", "Tus-Resumable: 1.0.0",
        "Content-Type: application/offset+octet-stream", f"Upload-Offset: {start}",
        f"Content-Length: {len(data)}", "", "",
    ]  # fmt: skip
    with closing(socket.create_connection((place.hostname, place.port))) as connection:
        connection.sendall("\r\n".join(lines).encode())
        for at in range(0, after, 10_000):
            connection.sendall(data[at : min(after, at + 10_000)])
            time.sleep(0.005)


def test_what_a_broken_connection_brought_counts(
    client: httpx.Client, container: Container, create: Create
) -> None:
    """Twenty cuts at random bytes, each gone on from where the server says."""
    dice = random.Random(1)
    address, done, cuts = create(), 0, 0
    while done < len(DATA):
        if cuts < 20:
            rest = DATA[done : done + dice.randint(1, 20_000)]
            cut(client, address, done, rest, dice.randrange(len(rest)))
            cuts += 1
        else:
            send(client, address, done, DATA[done:])
        time.sleep(0.05)  # the server may not have seen the break yet
        done = offset(client, address)
    assert stored(container, address) == DATA
    assert leftovers(container) == []


def test_with_a_checksum_all_counts_or_nothing(
    client: httpx.Client, container: Container, create: Create
) -> None:
    address = create()
    for algorithm in ("sha256", "sha1"):
        start = offset(client, address)
        part = DATA[start : start + 50_000]
        good = base64.b64encode(hashlib.new(algorithm, part).digest()).decode()
        wrong = send(
            client, address, start, part[::-1], **{"Upload-Checksum": f"{algorithm} {good}"}
        )
        assert (wrong.status_code, wrong.json()["code"]) == (460, "checksum_mismatch")
        assert offset(client, address) == start
        right = send(client, address, start, part, **{"Upload-Checksum": f"{algorithm} {good}"})
        assert right.status_code == 204
    assert stored(container, address) == DATA


@pytest.mark.parametrize(
    ("header", "value", "status", "code"),
    [
        ("Tus-Resumable", "0.2.2", 412, "unsupported_version"),
        ("Content-Type", "application/zip", 415, "unsupported_media_type"),
        ("Upload-Offset", "7", 409, "wrong_offset"),
        ("Upload-Offset", "-1", 422, "invalid_header"),
        ("Upload-Offset", "9" * 30, 422, "invalid_header"),
        ("Upload-Offset", "1" + "0" * 18, 409, "wrong_offset"),
        ("Upload-Checksum", "crc32 AAAA", 422, "invalid_header"),
        ("Upload-Checksum", "sha256 !", 422, "invalid_header"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_counts(
    client: httpx.Client, create: Create, header: str, value: str, status: int, code: str
) -> None:
    address = create()
    headers = {**PIECE, "Upload-Offset": "0", header: value}
    answer = client.patch(address, content=b"abc", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["tus-resumable"] == "1.0.0"
    assert (answer.headers.get("tus-version") == "1.0.0") == (status == 412)
    assert offset(client, address) == 0


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 422, "invalid_header"),
        ({"Upload-Length": "0"}, 422, "invalid_input"),
        ({"Upload-Length": str(ARCHIVE_BYTES + 1)}, 413, "archive_too_large"),
        ({"Upload-Defer-Length": "1"}, 422, "invalid_header"),
        ({"Upload-Length": "9", "Upload-Metadata": "filename ###"}, 422, "invalid_header"),
        (
            {"Upload-Length": "9", "Upload-Metadata": f"filename {said('a' * 4_000)}"},
            422,
            "invalid_header",
        ),
        ({"Upload-Length": "9", "Upload-Metadata": f"sha256 {said('x')}"}, 422, "invalid_input"),
        (
            {"Upload-Length": "9", "Upload-Metadata": f"name {said('a' * 300)}"},
            422,
            "invalid_input",
        ),
    ],
)
def test_uploads_that_cannot_begin(
    client: httpx.Client, headers: dict[str, str], status: int, code: str
) -> None:
    answer = client.post("/v1/uploads", headers={**TUS, **headers})
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_more_than_was_announced_is_refused(client: httpx.Client, create: Create) -> None:
    address = create(10)
    answer = send(client, address, 0, b"x" * 11)
    assert (answer.status_code, answer.json()["code"]) == (413, "archive_too_large")
    assert send(client, address, 0, b"x" * 10).status_code == 204


def test_one_writer_at_a_time(client: httpx.Client, container: Container, create: Create) -> None:
    address = create()
    upload_id = id_of(address)
    with container.sessions.begin() as session:
        uploads.take(session, upload_id, offset=0, token="other")
    answer = send(client, address, 0, DATA)
    assert (answer.status_code, answer.json()["code"]) == (423, "upload_busy")
    assert "retry-after" in answer.headers
    with container.sessions.begin() as session:
        uploads.release(session, upload_id, "other")
    assert send(client, address, 0, DATA).status_code == 204


def test_a_large_piece_is_stored_in_several(
    client: httpx.Client,
    container: Container,
    served: Served,
    create: Create,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small = container.settings.uploads.model_copy(update={"part_bytes": 30_000})
    settings = container.settings.model_copy(update={"uploads": small})
    served.app.state.container = replace(container, settings=settings)
    monkeypatch.setattr("api.uploads.BUFFER", 1_000)
    address = create()

    client_too = httpx.Client(base_url=client.base_url, trust_env=False)

    def slowly() -> Iterator[bytes]:
        for at in range(0, len(DATA), 10_000):
            if at == 70_000:  # what is stored counts while more comes
                eventually(lambda: offset(client_too, address) >= 30_000)
            yield DATA[at : at + 10_000]
            time.sleep(0.01)

    headers = {**PIECE, "Upload-Offset": "0", "Content-Length": str(len(DATA))}
    with client_too:
        assert client.patch(address, content=slowly(), headers=headers).status_code == 204
    assert len(objects(container)) >= 2
    assert stored(container, address) == DATA


def test_what_is_not_wanted_is_deleted(
    client: httpx.Client, container: Container, create: Create
) -> None:
    address = create()
    send(client, address, 0, DATA[:5_000])
    assert len(objects(container)) == 1
    assert client.delete(address, headers=TUS).status_code == 204
    assert client.head(address, headers=TUS).status_code == 404
    assert client.delete(address, headers=TUS).status_code == 404
    assert objects(container) == []


def expire(container: Container, address: str) -> None:
    with container.sessions.begin() as session:
        mine = UploadRow.id == id_of(address)
        session.execute(update(UploadRow).where(mine).values(expires_at=now(-1.0)))


def test_expired_uploads_are_gone_and_collected(
    client: httpx.Client, container: Container, create: Create
) -> None:
    address, other = create(), create()
    assert parsedate_to_datetime(client.head(address, headers=TUS).headers["upload-expires"])
    for each in (address, other):
        send(client, each, 0, DATA[:1_000])
    expire(container, address)
    assert client.head(address, headers=TUS).status_code == 410
    assert send(client, address, 1_000, DATA[1_000:]).status_code == 410
    told: list[collector.Finding] = []
    collector.collect(container.sessions, container.store, tell=told.append)
    assert [each.kind for each in told] == [collector.Kind.EXPIRED]
    assert client.head(address, headers=TUS).status_code == 404
    assert offset(client, other) == 1_000
    assert len(objects(container)) == 1


def test_pieces_that_were_never_counted_are_collected(
    client: httpx.Client, container: Container, create: Create, tmp_path: Path
) -> None:
    """Their server was killed between the two."""
    address = create()
    send(client, address, 0, DATA[:1_000])
    lost = keys.upload_part(DEFAULT, id_of(address), 1_000, "lost")
    (tmp_path / "piece").write_bytes(b"lost")
    container.store.put(lost, tmp_path / "piece")
    collector.collect(container.sessions, container.store)
    assert len(objects(container)) == 2  # too young: it may be about to be counted
    collector.collect(container.sessions, container.store, grace_seconds=0.0)
    assert len(objects(container)) == 1
    assert offset(client, address) == 1_000


def test_an_altered_piece_is_found_out(
    client: httpx.Client, container: Container, create: Create
) -> None:
    address = create()
    send(client, address, 0, DATA)
    (key,) = objects(container)
    path = next(container.settings.home.rglob(key.rsplit("/", 1)[1]))
    path.chmod(0o600)
    path.write_bytes(DATA[::-1])
    answer = client.post(f"/v1/datasets?name=x&upload={address.rsplit('/', 1)[1]}")
    assert (answer.status_code, answer.json()["code"]) == (500, "corrupt_object")


def test_a_whole_that_is_not_what_was_promised_is_refused(
    client: httpx.Client, create: Create
) -> None:
    address = create(sha256="0" * 64)
    send(client, address, 0, DATA)
    answer = client.post(f"/v1/datasets?name=x&upload={address.rsplit('/', 1)[1]}")
    assert (answer.status_code, answer.json()["code"]) == (422, "digest_mismatch")


def test_uploads_are_listed_until_their_time_is_over(
    client: httpx.Client, container: Container, create: Create
) -> None:
    addresses = [create(filename=f"{number}.zip") for number in range(3)]
    expire(container, addresses[1])
    first = client.get("/v1/uploads", params={"page_size": 1}).json()
    rest = client.get("/v1/uploads", params={"page_token": first["next_page_token"]}).json()
    assert [each["name"] for each in (*first["items"], *rest["items"])] == ["2.zip", "0.zip"]
    assert rest["next_page_token"] is None
