"""Objects as files under one folder: whole or absent, never partial, never rewritten."""

import contextlib
import errno
import os
import secrets
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from core.errors import InvalidInput, NotFound, Unavailable
from core.ports import Heard, Stored, Unfinished, unheard
from core.storage.keys import PARTIAL, checked

COPY_BYTES = 1024 * 1024
FOLDER_TRIES = 5
# What `link` says on file systems that have no hard links.
NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


class LocalStore:
    """An `ObjectStore` on a local (or mounted) file system."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        try:
            self._root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Unavailable(f"The object folder cannot be made: {error.strerror}.") from error

    def put(self, key: str, source: Path, *, heard: Heard = unheard) -> None:
        """Store the file; durable on return. A second `put` of a key is a no-op."""
        target = self._path(key)
        with source.open("rb") as stream, _unavailable("The object cannot be stored"):
            if target.is_file():
                return
            partial = target.with_name(f"{PARTIAL}{secrets.token_hex(8)}")
            try:
                _write_durably(stream, partial, heard)
                _publish(partial, target)
            finally:
                partial.unlink(missing_ok=True)
            _sync_folder(target.parent)

    def open(self, key: str) -> BinaryIO:
        """A readable stream of the object (the caller closes it). Raises NotFound."""
        try:
            return self._path(key).open("rb")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise NotFound("There is no such object.") from error
        except OSError as error:
            raise Unavailable(f"The object cannot be read: {error.strerror}.") from error

    def exists(self, key: str) -> bool:
        """Whether the object is there."""
        with _unavailable("The object cannot be looked up"):
            return self._path(key).is_file()

    def listing(self, folder: str) -> Iterator[Stored]:
        """Every object whose key lies under `folder` ("" for all), in no particular order.

        What is put or deleted meanwhile may be in it or not.
        """
        root = self._path(folder.rstrip("/")) if folder else self._root
        for path, state in _files(root):
            if not path.name.startswith(PARTIAL):
                key = path.relative_to(self._root).as_posix()
                yield Stored(key, state.st_size, _moment(state.st_mtime))

    def delete(self, keys: Iterable[str]) -> None:
        """Remove the objects; those that are not there are no error."""
        with _unavailable("An object cannot be deleted"):
            for key in keys:
                path = self._path(key)
                with contextlib.suppress(FileNotFoundError, IsADirectoryError, NotADirectoryError):
                    path.unlink()
                    self._drop_empty(path.parent)

    def unfinished(self) -> Iterator[Unfinished]:
        """Every `put` that has begun and not ended, those of killed processes included."""
        for path, state in _files(self._root):
            if path.name.startswith(PARTIAL):
                folder = path.parent.relative_to(self._root).as_posix()
                yield Unfinished(folder, path.name, state.st_size, _moment(state.st_mtime))

    def discard(self, unfinished: Unfinished) -> None:
        """Free what it takes; its `put`, if it still runs, fails with Unavailable."""
        if not unfinished.mark.startswith(PARTIAL) or "/" in unfinished.mark:
            raise ValueError("this was not found by `unfinished`")
        with _unavailable("A file cannot be deleted"):
            path = self._root / unfinished.key / unfinished.mark
            path.unlink(missing_ok=True)
            self._drop_empty(path.parent)

    def check(self) -> None:
        """Raise Unavailable, saying why, when the store cannot be read."""
        with _unavailable("The object folder cannot be read"), os.scandir(self._root) as entries:
            next(entries, None)

    def _path(self, key: str) -> Path:
        return self._root.joinpath(*checked(key).split("/"))

    def _drop_empty(self, folder: Path) -> None:
        with contextlib.suppress(OSError):  # somebody's file is in it, or it is gone
            while folder != self._root:
                folder.rmdir()
                folder = folder.parent


@contextlib.contextmanager
def _unavailable(what: str) -> Iterator[None]:
    """Say a file system's error in the store's own words, without paths."""
    try:
        yield
    except (FileExistsError, NotADirectoryError) as error:
        raise InvalidInput(
            "The object key lies under another object, or the other way round.", code="invalid_key"
        ) from error
    except OSError as error:
        raise Unavailable(f"{what}: {error.strerror}.") from error


def _files(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """The files below, as they are found: what goes meanwhile is left out."""
    with _unavailable("The object folder cannot be read"):
        for place, _, names in os.walk(folder, onerror=_not_gone):
            for name in sorted(names):
                path = Path(place, name)
                with contextlib.suppress(FileNotFoundError):
                    yield path, path.stat()


def _not_gone(error: OSError) -> None:
    if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
        raise error


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _write_durably(stream: BinaryIO, partial: Path, heard: Heard) -> None:
    with os.fdopen(_create(partial), "wb") as file:
        while chunk := stream.read(COPY_BYTES):
            file.write(chunk)
            heard(len(chunk))
        file.flush()
        os.fsync(file.fileno())


def _create(partial: Path) -> int:
    """A new file's descriptor; its folder is made if need be."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    for tries_left in reversed(range(FOLDER_TRIES)):
        try:
            _make_folder(partial.parent)
            return os.open(partial, flags, 0o600)
        except FileNotFoundError:  # a deletion left the folder empty and took it away
            if not tries_left:
                raise
    raise AssertionError("unreachable")


def _publish(partial: Path, target: Path) -> None:
    """Give the finished file its name, unless somebody else's copy has it already."""
    try:
        os.link(partial, target)
    except FileExistsError:
        if target.is_dir():
            raise
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        # Keys hold a content hash or a fence: replacing puts the same bytes in the same place.
        partial.replace(target)


def _make_folder(folder: Path) -> None:
    """Make the folder and its parents; each new name is on disk when this returns."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
