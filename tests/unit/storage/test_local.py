"""Local files: whole or absent, whatever the file system does."""

import errno
import io
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.errors import InvalidInput, Unavailable
from core.ports import Unfinished
from core.storage.local import LocalStore


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "objects")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(b"payload")
    return path


def files(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "objects").rglob("*") if path.is_file()]


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Full(io.FileIO):
    """A file that takes nothing."""

    def write(self, data: object) -> int:
        full_disk(data)
        return 0


@pytest.mark.parametrize(
    ("step", "fails"), [("os.fdopen", Full), ("os.fsync", full_disk), ("os.link", full_disk)]
)
def test_a_full_disk_leaves_nothing_behind(
    store: LocalStore,
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    fails: object,
) -> None:
    store.put("a/other", source)
    monkeypatch.setattr(step, fails)
    with pytest.raises(Unavailable, match="No space left on device") as caught:
        store.put("a/b", source)
    assert str(tmp_path) not in caught.value.message
    assert not store.exists("a/b")
    assert files(tmp_path) == [tmp_path / "objects/a/other"]


def test_a_put_works_again_once_there_is_space(
    store: LocalStore, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        with pytest.raises(Unavailable):
            store.put("a/b", source)
    store.put("a/b", source)
    with store.open("a/b") as stream:
        assert stream.read() == b"payload"


def test_the_file_and_every_new_folder_are_synced(
    store: LocalStore, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    real = os.fsync

    def record(descriptor: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    store.put("a/b/c", source)
    root = tmp_path / "objects"
    assert synced[:2] == [root, root / "a"]  # the names `a` and `a/b`
    assert synced[2].name.startswith(".partial-")  # the content, before it has a name
    assert synced[3:] == [root / "a/b"]  # the name `c`


def test_a_file_system_without_hard_links_is_enough(
    store: LocalStore, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    store.put("a", source)
    assert files(tmp_path) == [tmp_path / "objects/a"]


def test_who_loses_the_race_to_publish_changes_nothing(
    store: LocalStore, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tmp_path / "first"
    first.write_bytes(b"first")
    real = os.fsync

    def overtaken(descriptor: int) -> None:
        real(descriptor)
        monkeypatch.setattr(os, "fsync", real)
        store.put("a", first)

    monkeypatch.setattr(os, "fsync", overtaken)
    store.put("a", source)
    with store.open("a") as stream:
        assert stream.read() == b"first"
    assert files(tmp_path) == [tmp_path / "objects/a"]


@pytest.mark.parametrize(("taken", "key"), [("a", "a/b"), ("a/b", "a")])
def test_an_object_cannot_lie_under_another(
    store: LocalStore, source: Path, taken: str, key: str
) -> None:
    store.put(taken, source)
    with pytest.raises(InvalidInput, match="under another object"):
        store.put(key, source)
    assert store.exists(taken)
    assert not store.exists(key)


def test_a_missing_source_is_the_callers_own_mistake(store: LocalStore, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        store.put("a", tmp_path / "absent")


def test_a_root_that_is_gone_fails_the_check(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / "objects").rmdir()
    with pytest.raises(Unavailable, match="cannot be read"):
        store.check()


def test_a_root_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="cannot be made"):
        LocalStore(tmp_path / "file" / "objects")


def test_objects_are_readable_by_their_owner_alone(store: LocalStore, source: Path) -> None:
    store.put("a", source)
    with store.open("a") as stream:
        assert os.fstat(stream.fileno()).st_mode & 0o077 == 0


def test_a_file_of_a_killed_process_is_found_and_discarded(
    store: LocalStore, source: Path, tmp_path: Path
) -> None:
    store.put("a/b/object", source)
    left = tmp_path / "objects/a/c/.partial-0123456789abcdef"
    left.parent.mkdir()
    left.write_bytes(b"half of it")
    (found,) = store.unfinished()
    assert (found.key, found.mark, found.size) == ("a/c", left.name, 10)
    assert [each.key for each in store.listing("")] == ["a/b/object"]
    store.discard(found)
    store.discard(found)  # somebody else was first
    assert list(store.unfinished()) == []
    assert not left.parent.exists()
    assert files(tmp_path) == [tmp_path / "objects/a/b/object"]


def test_a_put_whose_file_is_discarded_fails_and_succeeds_again(
    store: LocalStore, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def discarding(descriptor: int) -> None:
        real(descriptor)
        for each in store.unfinished():
            store.discard(each)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", discarding)
        with pytest.raises(Unavailable):
            store.put("a/b", source)
    store.put("a/b", source)
    assert store.exists("a/b")


def test_only_what_was_found_unfinished_is_discarded(store: LocalStore, source: Path) -> None:
    store.put("a/b", source)
    for mark in ("b", "../a/b", ".partial-/../b"):
        with pytest.raises(ValueError, match="not found"):
            store.discard(Unfinished("a", mark, 0, datetime.now(UTC)))
    assert store.exists("a/b")


def test_deleting_takes_empty_folders_along(store: LocalStore, source: Path) -> None:
    for key in ("a/b/c/1", "a/b/2"):
        store.put(key, source)
    store.delete(["a/b/c/1"])
    assert [each.name for each in (store._root / "a/b").iterdir()] == ["2"]
    store.delete(["a/b/2"])
    assert list(store._root.iterdir()) == []


def test_a_folder_that_goes_while_it_is_made_is_made_again(
    store: LocalStore, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, gone = os.open, []

    def open_too_late(path: Path, flags: int, *rest: int) -> int:
        if flags & os.O_CREAT and len(gone) < 2:
            gone.append(path)
            Path(path).parent.rmdir()
        return real(path, flags, *rest)

    monkeypatch.setattr(os, "open", open_too_late)
    store.put("a/b", source)
    assert len(gone) == 2
    assert store.exists("a/b")


def test_a_folder_that_cannot_be_read_is_unavailable(
    store: LocalStore, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("a/b", source)

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(Unavailable, match="Permission denied"):
        list(store.listing(""))
