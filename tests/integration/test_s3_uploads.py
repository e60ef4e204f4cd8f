"""Uploads by way of a real S3 server: fetched from a bucket, or sent straight into ours."""

import base64
import hashlib
import hmac
import json
import random
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import update

from api import pieces
from core import bootstrap
from core.bootstrap import Container
from core.config import S3Storage, Settings, UploadLimits
from core.db.clock import now
from core.db.upload_tables import UploadRow
from core.domain import keys
from core.domain.identity import DEFAULT
from core.errors import Unavailable
from core.execution import collector
from core.queue.hintless import HintlessQueue
from core.services import uploads
from core.storage.s3 import S3Store
from tests.fixtures import s3
from tests.fixtures.projects import of_project
from tests.unit.api import archives
from tests.unit.api.conftest import Served, served

__all__ = ["served"]

pytestmark = pytest.mark.services

MEBIBYTE = 1024 * 1024
DATA = random.Random(6).randbytes(3 * MEBIBYTE + 17)
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def theirs(s3_server: S3Storage) -> S3Storage:
    """A caller's bucket with an archive of theirs in it."""
    made = s3.fresh_bucket(s3_server)
    with s3.client(made) as client:
        client.put_object(Bucket=made.bucket, Key="of mine/ä+1.zip", Body=DATA)
    return made


@pytest.fixture
def container(s3_storage: S3Storage, database_url: str, tmp_path: Path) -> Iterator[Container]:
    """A service whose own store is a bucket, and that may fetch from the server."""
    settings = Settings(
        home=tmp_path,
        database_url=database_url,
        storage=s3_storage,
        s3_endpoints=(str(s3_storage.endpoint_url),),
        uploads=UploadLimits(part_bytes=MEBIBYTE),
    )
    built = bootstrap.build(settings, queue=HintlessQueue())
    yield of_project(built)
    built.close()


@pytest.fixture
def client(served: Served, container: Container) -> Iterator[httpx.Client]:
    served.app.state.container = container
    with httpx.Client(base_url=served.url, timeout=60, trust_env=False) as opened:
        yield opened


def order(storage: S3Storage, **changes: Any) -> dict[str, Any]:
    """What a caller asks for, with their credentials."""
    assert storage.access_key is not None
    assert storage.secret_key is not None
    return {
        "uri": f"s3://{storage.bucket}/of mine/ä+1.zip",
        "endpoint": storage.endpoint_url,
        "access_key": storage.access_key.get_secret_value(),
        "secret_key": storage.secret_key.get_secret_value(),
        **changes,
    }


def stored(container: Container, upload_id: str) -> bytes:
    with pieces.assembled(container, [UUID(upload_id)]) as (path,):
        return path.read_bytes()


def objects(container: Container) -> list[str]:
    return [each.key for each in container.store.listing(keys.uploads(DEFAULT))]


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_an_object_is_fetched_with_its_owners_keys(
    client: httpx.Client, container: Container, theirs: S3Storage
) -> None:
    made = client.post("/v1/uploads:s3", json=order(theirs, sha256=SHA256))
    assert made.status_code == 201, made.text
    shown = made.json()
    assert (shown["name"], shown["received"], shown["state"]) == ("ä+1.zip", len(DATA), "complete")
    assert stored(container, shown["id"]) == DATA
    assert len(objects(container)) == 4


def test_an_object_in_parts_is_fetched_too(
    client: httpx.Client, container: Container, theirs: S3Storage, tmp_path: Path
) -> None:
    """Its ETag is no MD5, and large objects of Swift are made of others."""
    data = random.Random(7).randbytes(17 * MEBIBYTE)
    (tmp_path / "large").write_bytes(data)
    with s3.client(theirs) as owner:
        owner.upload_file(str(tmp_path / "large"), theirs.bucket, "large")
        assert "-" in owner.head_object(Bucket=theirs.bucket, Key="large")["ETag"]
    made = client.post("/v1/uploads:s3", json=order(theirs, uri=f"s3://{theirs.bucket}/large"))
    assert made.status_code == 201, made.text
    assert stored(container, made.json()["id"]) == data


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"secret_key": "wrong"}, (422, "s3_access_denied")),
        ({"access_key": "test:nobody"}, (422, "s3_access_denied")),
        ({"uri": "s3://BUCKET/nothing"}, (422, "s3_not_found")),
        ({"uri": "s3://no-such-bucket/key"}, (422, "s3_not_found")),
        ({"region": "eu-central-1"}, (422, "s3_access_denied")),
        ({"sha256": "0" * 64}, (422, "digest_mismatch")),
    ],
)
def test_what_cannot_be_read_is_refused(
    client: httpx.Client,
    container: Container,
    theirs: S3Storage,
    change: dict[str, str],
    expected: tuple[int, str],
) -> None:
    body = order(theirs, **change)
    body["uri"] = body["uri"].replace("BUCKET", theirs.bucket)
    assert code(client.post("/v1/uploads:s3", json=body)) == expected
    assert objects(container) == []
    with container.sessions.read() as session:
        assert uploads.used_bytes(session) == 0


def begun(client: httpx.Client, data: bytes = DATA, **more: Any) -> dict[str, Any]:
    body = {"length": len(data), "name": "a.zip", **more}
    made = client.post("/v1/uploads:presign", json=body)
    assert made.status_code == 201, made.text
    assert made.headers["cache-control"] == "no-store"
    shown: dict[str, Any] = made.json()
    return shown


def put(storage: S3Storage, form: dict[str, Any], data: bytes) -> None:
    """Put the bytes where the form would: the test's server does not take forms."""
    with s3.client(storage) as owner:
        owner.put_object(Bucket=storage.bucket, Key=form["fields"]["key"], Body=data)


def complete(client: httpx.Client, form: dict[str, Any]) -> httpx.Response:
    return client.post(f"/v1/uploads/{form['upload_id']}:complete")


def test_a_file_sent_to_the_bucket_is_read_and_kept(
    client: httpx.Client, container: Container, s3_storage: S3Storage
) -> None:
    form = begun(client, sha256=SHA256)
    assert code(complete(client, form)) == (409, "upload_incomplete")
    put(s3_storage, form, DATA)
    made = complete(client, form)
    assert made.status_code == 200, made.text
    assert (made.json()["state"], made.json()["received"]) == ("complete", len(DATA))
    assert form["fields"]["key"] not in objects(container)
    put(s3_storage, form, bytes(len(DATA)))  # the form can be used once more, and is in vain
    assert complete(client, form).json() == made.json()
    assert stored(container, form["upload_id"]) == DATA
    assert client.delete(
        f"/v1/uploads/{form['upload_id']}", headers={"Tus-Resumable": "1.0.0"}
    ).status_code == 204  # fmt: skip
    assert objects(container) == []


def test_it_becomes_a_dataset(
    client: httpx.Client, container: Container, s3_storage: S3Storage
) -> None:
    data = archives.zipped(archives.class_folders())
    form = begun(client, data)
    put(s3_storage, form, data)
    assert complete(client, form).status_code == 200
    made = client.post(f"/v1/datasets?name=animals&upload={form['upload_id']}")
    assert (made.status_code, made.json()["classes"]) == (201, ["cat", "dog"])
    assert objects(container) == []


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (DATA[:-1] + b"x", (422, "digest_mismatch")),
        (DATA[:-1], (422, "size_mismatch")),
        (DATA + b"x", (422, "size_mismatch")),
    ],
)
def test_other_bytes_are_not_kept_and_the_right_ones_may_follow(
    client: httpx.Client,
    container: Container,
    s3_storage: S3Storage,
    sent: bytes,
    expected: tuple[int, str],
) -> None:
    assert sent != DATA
    form = begun(client, sha256=SHA256)
    put(s3_storage, form, sent)
    assert code(complete(client, form)) == expected
    assert client.get(f"/v1/uploads/{form['upload_id']}").json()["state"] == "open"
    assert form["fields"]["key"] not in objects(container)
    assert code(complete(client, form)) == (409, "upload_incomplete")
    put(s3_storage, form, DATA)
    assert complete(client, form).status_code == 200
    assert stored(container, form["upload_id"]) == DATA
    assert len(objects(container)) == 4


def test_a_reading_that_broke_off_is_begun_anew(
    client: httpx.Client,
    container: Container,
    s3_storage: S3Storage,
    served: Served,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The bucket's object may be another by then; what was stored of it may not stay."""
    form = begun(client)
    put(s3_storage, form, bytes(len(DATA)))
    puts = iter([None, None, OSError("the store went away")])
    before = S3Store.put

    def once(self: S3Store, key: str, source: Path) -> None:
        if (error := next(puts, None)) is not None:
            raise Unavailable(str(error))
        before(self, key, source)

    monkeypatch.setattr(S3Store, "put", once)
    assert complete(client, form).status_code == 503
    assert client.get(f"/v1/uploads/{form['upload_id']}").json()["received"] == 2 * MEBIBYTE
    put(s3_storage, form, DATA)
    assert complete(client, form).status_code == 200
    assert stored(container, form["upload_id"]) == DATA
    assert len(objects(container)) == 4


def test_only_one_at_a_time_completes_an_upload(
    client: httpx.Client, container: Container, s3_storage: S3Storage
) -> None:
    form = begun(client)
    put(s3_storage, form, DATA)
    with container.sessions.begin() as session:
        uploads.take(session, UUID(form["upload_id"]), offset=0, token="other")
    busy = complete(client, form)
    assert (code(busy), busy.headers["retry-after"]) == ((423, "upload_busy"), "5")
    assert form["fields"]["key"] in objects(container)
    with container.sessions.begin() as session:
        uploads.release(session, UUID(form["upload_id"]), "other")
    assert complete(client, form).status_code == 200


def test_what_is_promised_counts_and_what_never_came_is_collected(
    client: httpx.Client, container: Container, s3_storage: S3Storage
) -> None:
    form, other = begun(client), begun(client)
    put(s3_storage, form, DATA)
    with container.sessions.begin() as session:
        assert uploads.used_bytes(session) == 2 * len(DATA)
        session.execute(update(UploadRow).values(expires_at=now(-1.0)))
    assert code(complete(client, form)) == (410, "upload_expired")
    time.sleep(1.1)  # objects are dated by the second
    collector.collect(container.sessions, container.store, grace_seconds=0)
    assert objects(container) == []
    for each in (form, other):
        assert code(complete(client, each)) == (404, "not_found")
    put(s3_storage, form, DATA)  # with a form that is still good: it belongs to nothing
    time.sleep(1.1)
    collector.collect(container.sessions, container.store, grace_seconds=0)
    assert objects(container) == []


def test_a_form_is_for_one_file(client: httpx.Client, s3_storage: S3Storage) -> None:
    """Its policy, to the letter: what a store enforces is what is signed, and nothing else is."""
    asked = datetime.now(UTC)
    form = begun(client)
    fields = dict(form["fields"])
    policy = json.loads(base64.b64decode(fields["policy"]))
    key = keys.sent_directly(DEFAULT, UUID(form["upload_id"]))
    signer = fields["x-amz-credential"]
    assert policy.keys() == {"expiration", "conditions"}
    conditions = [
        next(iter(each.items())) if isinstance(each, dict) else tuple(each)
        for each in policy["conditions"]
    ]
    assert sorted(conditions, key=str) == sorted(
        [
            ("content-length-range", len(DATA), len(DATA)),
            ("bucket", s3_storage.bucket),
            ("key", key),
            ("x-amz-algorithm", "AWS4-HMAC-SHA256"),
            ("x-amz-credential", signer),
            ("x-amz-date", fields["x-amz-date"]),
        ],
        key=str,
    )
    ends = datetime.fromisoformat(policy["expiration"])
    told = datetime.fromisoformat(form["expires_at"])
    assert timedelta(0) <= ends - told <= timedelta(seconds=2)
    assert abs(ends - asked - timedelta(hours=1)) < timedelta(seconds=10)
    assert fields.keys() == {
        "key", "policy", "x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature",
    }  # fmt: skip
    assert fields["key"] == key
    assert form["url"] == f"{s3_storage.endpoint_url}/{s3_storage.bucket}"
    assert fields["x-amz-signature"] == signature(s3_storage, fields["policy"], signer)
    secret = order(s3_storage)["secret_key"]
    assert secret not in json.dumps(form)


def signature(storage: S3Storage, policy: str, credential: str) -> str:
    """Signature Version 4 of a POST policy, from its definition (Amazon S3 API Reference,
    "Calculating a signature" for browser-based uploads)."""
    access, day, region, service, last = credential.split("/")
    told = order(storage)
    assert (access, region, service, last) == (
        told["access_key"], storage.region, "s3", "aws4_request",
    )  # fmt: skip
    key = f"AWS4{told['secret_key']}".encode()
    for word in (day, region, service, last):
        key = hmac.digest(key, word.encode(), "sha256")
    return hmac.new(key, policy.encode(), "sha256").hexdigest()


def test_a_form_names_where_clients_reach_the_bucket(
    client: httpx.Client, container: Container, s3_storage: S3Storage, served: Served
) -> None:
    told = s3_storage.model_copy(update={"public_url": "https://files.example"})
    store = S3Store(told)
    served.app.state.container = replace(container, store=store)
    assert begun(client)["url"] == f"https://files.example/{s3_storage.bucket}"
    store.close()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"length": 0, "name": "a"}, (422, "invalid_input")),
        ({"length": 3 * 1024**3, "name": "a"}, (413, "archive_too_large")),
        ({"length": "5", "name": "a"}, (422, "validation_error")),
        ({"length": True, "name": "a"}, (422, "validation_error")),
        ({"length": 5}, (422, "validation_error")),
        ({"length": 5, "name": ""}, (422, "invalid_input")),
        ({"length": 5, "name": "a\nb"}, (422, "invalid_input")),
        ({"length": 5, "name": "a", "sha256": "x"}, (422, "invalid_input")),
        ({"length": 5, "name": "a", "key": "../x"}, (422, "validation_error")),
    ],
)
def test_what_a_form_is_asked_for_is_judged(
    client: httpx.Client, body: dict[str, Any], expected: tuple[int, str]
) -> None:
    answer = client.post("/v1/uploads:presign", json=body)
    assert (answer.status_code, answer.json().get("code", "")) == expected
