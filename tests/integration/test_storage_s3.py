"""What only a bucket can do wrong: absent servers, wrong secrets, broken and altered streams."""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from pydantic import SecretStr

from core.config import S3Storage
from core.errors import CorruptObject, Unavailable
from core.storage.s3 import S3Store

pytestmark = pytest.mark.services
MEBIBYTE = 1024 * 1024


@contextlib.contextmanager
def store_with(settings: S3Storage, **changes: object) -> Iterator[S3Store]:
    with contextlib.closing(S3Store(settings.model_copy(update=changes))) as store:
        yield store


@pytest.fixture
def store(s3_storage: S3Storage) -> Iterator[S3Store]:
    with store_with(s3_storage) as store:
        yield store


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(b"payload")
    return path


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_an_absent_server_is_unavailable_within_seconds(
    s3_storage: S3Storage, source: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    began = time.monotonic()
    with store_with(s3_storage, endpoint_url=f"http://127.0.0.1:{port}") as store:
        with pytest.raises(Unavailable, match="does not answer"):
            store.put("key", source)
        with pytest.raises(Unavailable, match="does not answer"):
            store.check()
    assert time.monotonic() - began < 15


def test_a_wrong_secret_is_refused_and_not_repeated(s3_storage: S3Storage) -> None:
    wrong = store_with(s3_storage, secret_key=SecretStr("not-the-secret"))
    with wrong as store, pytest.raises(Unavailable) as caught:
        store.exists("key")
    assert "refused" in caught.value.message
    assert "not-the-secret" not in caught.value.message


def test_a_missing_bucket_fails_the_check_by_name(s3_server: S3Storage) -> None:
    with store_with(s3_server) as store, pytest.raises(Unavailable, match="'missing'"):
        store.check()


def test_a_missing_bucket_takes_nothing(s3_server: S3Storage, source: Path) -> None:
    with store_with(s3_server) as store, pytest.raises(Unavailable):
        store.put("key", source)


def test_a_bucket_is_made_once(s3_server: S3Storage, source: Path) -> None:
    with store_with(s3_server, bucket=f"made-{time.time_ns()}") as store:
        store.create_bucket()
        store.put("key", source)
        store.create_bucket()
        store.check()
        assert store.exists("key")


def test_large_files_go_up_in_parts_with_our_checksum(store: S3Store, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(os.urandom(20 * MEBIBYTE))
    store.put("large", large)
    head = store._client.head_object(Bucket=store._bucket, Key="large")
    assert head["ETag"].endswith('-3"')  # 8 + 8 + 4 MiB
    assert len(head["Metadata"]["sha256"]) == 64


def test_a_failed_upload_leaves_neither_object_nor_parts(
    store: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = tmp_path / "large"
    large.write_bytes(bytes(20 * MEBIBYTE))

    def break_third_part(params: dict[str, object], **_: object) -> None:
        if params["PartNumber"] == 3:
            raise ConnectionError("the network went away")

    store._client.meta.events.register("provide-client-params.s3.UploadPart", break_third_part)
    with pytest.raises(Unavailable):
        store.put("large", large)
    assert not store.exists("large")
    uploads = store._client.list_multipart_uploads(Bucket=store._bucket)
    assert not uploads.get("Uploads")


def test_an_upload_of_a_killed_process_is_found_and_discarded(
    store: S3Store, source: Path
) -> None:
    # What a kill in the middle of a `put` leaves: nobody completes or aborts it.
    names = {"Bucket": store._bucket, "Key": "default/jobs/a/large"}
    upload = store._client.create_multipart_upload(**names)["UploadId"]
    part = {**names, "UploadId": upload}
    store._client.upload_part(**part, PartNumber=1, Body=bytes(6 * MEBIBYTE))
    store._client.upload_part(**part, PartNumber=2, Body=b"end")
    store.put("beside", source)
    (found,) = store.unfinished()
    assert (found.key, found.size) == (names["Key"], 6 * MEBIBYTE + 3)
    assert abs(found.began - datetime.now(UTC)) < timedelta(minutes=1)
    assert [each.key for each in store.listing("")] == ["beside"]
    store.discard(found)
    store.discard(found)  # somebody else was first
    assert list(store.unfinished()) == []
    with pytest.raises(ClientError, match="NoSuchUpload"):
        store._client.list_parts(**part)


def test_a_put_whose_upload_is_discarded_fails_and_succeeds_again(
    store: S3Store, tmp_path: Path
) -> None:
    large = tmp_path / "large"
    large.write_bytes(bytes(20 * MEBIBYTE))

    def discard_once(params: dict[str, object], **_: object) -> None:
        if params["PartNumber"] == 3:
            store._client.meta.events.unregister(event, discard_once)
            for each in store.unfinished():
                store.discard(each)

    event = "provide-client-params.s3.UploadPart"
    store._client.meta.events.register(event, discard_once)
    with pytest.raises(Unavailable):
        store.put("large", large)
    assert not store.exists("large")
    store.put("large", large)
    with store.open("large") as stream:
        assert stream.read() == large.read_bytes()


def test_an_altered_object_is_found_out_at_its_end(store: S3Store, source: Path) -> None:
    store._client.put_object(
        Bucket=store._bucket, Key="altered", Body=b"payloaD", Metadata={"sha256": "0" * 64}
    )
    with store.open("altered") as stream, pytest.raises(CorruptObject):
        stream.read()


class CuttingProxy:
    """Passes bytes to a server and cuts each answer after a number of them."""

    def __init__(self, target: tuple[str, int], *, cut_after: int) -> None:
        self._target, self._cut_after = target, cut_after
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._target) as server:
            threading.Thread(target=_pump, args=(client, server), daemon=True).start()
            if _pump(server, client, limit=self._cut_after):
                self.cuts += 1
            for end in (client, server):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)


def _pump(source: socket.socket, target: socket.socket, limit: int | None = None) -> bool:
    """Copy until the end or the limit; whether it was the limit."""
    passed = 0
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
            passed += len(data)
            if limit is not None and passed >= limit:
                return True
    return False


def test_reading_goes_on_where_a_connection_broke(
    s3_storage: S3Storage, store: S3Store, tmp_path: Path
) -> None:
    data = os.urandom(5 * MEBIBYTE)
    (tmp_path / "large").write_bytes(data)
    store.put("large", tmp_path / "large")
    host, port = (s3_storage.endpoint_url or "").removeprefix("http://").split(":")
    proxy = CuttingProxy((host, int(port)), cut_after=2 * MEBIBYTE)
    address = f"http://127.0.0.1:{proxy.port}"
    with (
        contextlib.closing(proxy),
        store_with(s3_storage, endpoint_url=address) as broken,
        broken.open("large") as stream,
    ):
        assert stream.read() == data
    assert proxy.cuts >= 2
