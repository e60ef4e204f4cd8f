"""One contract, two stores: local files, and a bucket on a real S3-protocol server."""

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from core.config import S3Storage
from core.errors import InvalidInput, NotFound, Unavailable
from core.ports import ObjectStore
from core.storage.local import LocalStore
from core.storage.s3 import S3Store

MEBIBYTE = 1024 * 1024
ODD_KEYS = (
    "plain",
    "default/jobs/0198/a1/model.onnx",
    "default/ünï/código/データ.bin",
    "with space/and+plus/and%20percent",
    "query?and=ampersand&hash#tag",
    "dots/..double/triple...end.",
    "quotes/'single'/\"double\"",
    "~tilde/*star/[bracket]/{brace}",
    "x" * 200 + "/" + "y" * 200,
)

Write = Callable[[bytes], Path]


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.services)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStore]:
    """Each store in turn, empty."""
    if request.param == "local":
        yield LocalStore(tmp_path / "objects")
        return
    settings: S3Storage = request.getfixturevalue("s3_storage")
    s3 = S3Store(settings)
    with contextlib.closing(s3):
        yield s3


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Puts bytes into a new file outside the store."""

    def write(data: bytes) -> Path:
        path = tmp_path / f"source-{hashlib.sha256(data).hexdigest()[:16]}"
        path.write_bytes(data)
        return path

    return write


def content(store: ObjectStore, key: str) -> bytes:
    with store.open(key) as stream:
        return stream.read()


def test_what_was_put_is_read(store: ObjectStore, write: Write) -> None:
    assert not store.exists("a/b")
    store.put("a/b", write(b"hello"))
    assert store.exists("a/b")
    assert content(store, "a/b") == b"hello"


def test_putting_leaves_the_source(store: ObjectStore, write: Write) -> None:
    source = write(b"kept")
    store.put("copy", source)
    assert source.read_bytes() == b"kept"


def test_a_second_put_changes_nothing(store: ObjectStore, write: Write) -> None:
    store.put("a/b", write(b"first"))
    store.put("a/b", write(b"second"))
    assert content(store, "a/b") == b"first"


def test_an_empty_object_is_an_object(store: ObjectStore, write: Write) -> None:
    store.put("empty", write(b""))
    assert store.exists("empty")
    assert content(store, "empty") == b""


def test_a_large_object_comes_back_whole_in_chunks(store: ObjectStore, write: Write) -> None:
    data = bytes(range(251)) * (20 * MEBIBYTE // 251 + 1)  # no period of a part's size
    store.put("large", write(data))
    digest, longest, total = hashlib.sha256(), 0, 0
    with store.open("large") as stream:
        while chunk := stream.read(MEBIBYTE):
            digest.update(chunk)
            longest, total = max(longest, len(chunk)), total + len(chunk)
    assert total == len(data)
    assert longest <= MEBIBYTE
    assert digest.digest() == hashlib.sha256(data).digest()


def test_a_put_tells_of_its_bytes(store: ObjectStore, write: Write) -> None:
    data = bytes(20 * 1024**2)
    told: list[int] = []
    for _ in range(2):  # the second stores nothing
        store.put("told", write(data), heard=told.append)
        assert sum(told) == len(data)
    assert len(told) > 2


def test_a_stream_can_be_read_from_anywhere(store: ObjectStore, write: Write) -> None:
    data = bytes(range(256)) * 8192
    store.put("seekable", write(data))
    with store.open("seekable") as stream:
        assert stream.seek(-5, 2) == len(data) - 5
        assert stream.read() == data[-5:]
        stream.seek(1_000_003)
        assert stream.read(7) == data[1_000_003:1_000_010]
        assert stream.tell() == 1_000_010
        stream.seek(0)
        assert stream.read() == data


@pytest.mark.parametrize("key", ODD_KEYS)
def test_odd_keys_are_kept_apart(store: ObjectStore, write: Write, key: str) -> None:
    neighbour = key.replace("%20", " ").replace("+", " ").swapcase()
    store.put(key, write(key.encode()))
    assert content(store, key) == key.encode()
    assert not store.exists(neighbour)


@pytest.mark.parametrize("key", ["missing", "folder", "object/below"])
def test_a_missing_object_is_not_found(store: ObjectStore, write: Write, key: str) -> None:
    store.put("folder/object", write(b"x"))
    store.put("object", write(b"x"))
    assert not store.exists(key)
    with pytest.raises(NotFound) as caught:
        store.open(key)
    assert caught.value.stable_code == "not_found"


@pytest.mark.parametrize("key", ["../outside", "/absolute", "a//b", "", "a/../../b", "a\0b"])
def test_unsafe_keys_are_refused_everywhere(store: ObjectStore, write: Write, key: str) -> None:
    for act in (store.open, store.exists, lambda key: store.put(key, write(b"x"))):
        with pytest.raises(InvalidInput, match="object key"):
            act(key)


def test_eight_writers_of_one_key_leave_one_object(store: ObjectStore, write: Write) -> None:
    source = write(b"same" * 300_000)
    together = threading.Barrier(8)

    def put(_: int) -> None:
        together.wait()
        store.put("contended", source)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, range(8)))
    assert content(store, "contended") == source.read_bytes()


def keys_in(store: ObjectStore, folder: str = "") -> list[str]:
    return sorted(each.key for each in store.listing(folder))


def test_a_listing_says_what_is_there_and_how_large_and_since_when(
    store: ObjectStore, write: Write
) -> None:
    began = datetime.now(UTC) - timedelta(seconds=2)  # some stores keep whole seconds
    store.put("a/b", write(b"four"))
    store.put("a/c/d", write(b""))
    found = {each.key: each for each in store.listing("")}
    assert {key: each.size for key, each in found.items()} == {"a/b": 4, "a/c/d": 0}
    for each in found.values():
        assert began <= each.modified <= datetime.now(UTC) + timedelta(seconds=2)


def test_a_listing_keeps_to_its_folder(store: ObjectStore, write: Write) -> None:
    for key in ("a/b/1", "a/b/c/2", "a/bb/3", "a/b.c", "d"):
        store.put(key, write(b"x"))
    assert keys_in(store, "a/b") == keys_in(store, "a/b/") == ["a/b/1", "a/b/c/2"]
    assert keys_in(store, "nothing/here") == keys_in(store, "d") == []


def test_a_long_listing_is_whole(
    store: ObjectStore, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, keys = write(b"x"), [f"many/{number:04}" for number in range(45)]
    for key in keys:
        store.put(key, source)
    pages: list[object] = []
    if isinstance(store, S3Store):
        real = store._client.list_objects_v2

        def small(**terms: Any) -> Any:  # a page holds 1,000 else
            pages.append(terms)
            return real(**terms, MaxKeys=10)

        monkeypatch.setattr(store._client, "list_objects_v2", small)
    assert keys_in(store, "many") == keys
    assert len(pages) in {0, 5}


@pytest.mark.parametrize("key", ODD_KEYS)
def test_odd_keys_are_listed_and_deleted_as_they_are(
    store: ObjectStore, write: Write, key: str
) -> None:
    store.put(key, write(b"x"))
    store.put(f"beside/{key}", write(b"x"))
    assert keys_in(store) == sorted([key, f"beside/{key}"])
    store.delete([key])
    assert keys_in(store) == [f"beside/{key}"]
    assert not store.exists(key)


def test_what_is_deleted_is_gone_and_may_be_put_again(store: ObjectStore, write: Write) -> None:
    for key in ("a/1", "a/2", "b/3"):
        store.put(key, write(b"first"))
    store.delete(["a/1", "b/3", "missing", "a", "a/2/below"])
    assert keys_in(store) == ["a/2"]
    with pytest.raises(NotFound):
        store.open("a/1")
    store.put("a/1", write(b"second"))
    assert content(store, "a/1") == b"second"


def test_whoever_reads_while_it_is_deleted_reads_on_or_is_told(
    store: ObjectStore, write: Write
) -> None:
    data = bytes(range(256)) * 20_000
    store.put("a", write(data))
    with store.open("a") as stream:
        begin = stream.read(1_000)
        store.delete(["a"])
        with contextlib.suppress(NotFound, Unavailable):
            assert begin + stream.read() == data


def test_writers_and_deleters_of_one_folder_do_not_disturb_each_other(
    store: ObjectStore, write: Write
) -> None:
    source = write(b"x" * 1_000)

    def put_and_delete(writer: int) -> None:
        for number in range(12):
            key = f"shared/{number}/{writer}"
            store.put(key, source)
            assert content(store, key) == source.read_bytes()
            store.delete([key])

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(put_and_delete, range(6)))
    assert keys_in(store) == []


@pytest.mark.parametrize("key", ["../outside", "/absolute", "a//b", "a/../../b"])
def test_unsafe_keys_are_neither_listed_nor_deleted(store: ObjectStore, key: str) -> None:
    with pytest.raises(InvalidInput, match="object key"):
        list(store.listing(key))
    with pytest.raises(InvalidInput, match="object key"):
        store.delete([key])


def test_a_store_at_rest_has_nothing_unfinished(store: ObjectStore, write: Write) -> None:
    store.put("a/b", write(bytes(20 * MEBIBYTE)))
    assert list(store.unfinished()) == []


def test_a_store_in_order_passes_its_check(store: ObjectStore) -> None:
    store.check()
