"""Objects as files under one folder: whole or absent, never partial, never rewritten."""

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from core.errors import InvalidInput, NotFound, Unavailable
from core.storage.keys import PARTIAL, checked

COPY_BYTES = 1024 * 1024
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

    def put(self, key: str, source: Path) -> None:
        """Store the file; durable on return. A second `put` of a key is a no-op."""
        target = self._path(key)
        with source.open("rb") as stream, _unavailable("The object cannot be stored"):
            if target.is_file():
                return
            _make_folder(target.parent)
            partial = target.with_name(f"{PARTIAL}{secrets.token_hex(8)}")
            try:
                _write_durably(stream, partial)
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

    def check(self) -> None:
        """Raise Unavailable, saying why, when the store cannot be read."""
        with _unavailable("The object folder cannot be read"), os.scandir(self._root) as entries:
            next(entries, None)

    def _path(self, key: str) -> Path:
        return self._root.joinpath(*checked(key).split("/"))


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


def _write_durably(stream: BinaryIO, partial: Path) -> None:
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        shutil.copyfileobj(stream, file, COPY_BYTES)
        file.flush()
        os.fsync(file.fileno())


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
