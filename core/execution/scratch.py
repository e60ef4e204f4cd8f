"""The folder of one attempt: gone when it ends, and swept away by the next if its worker is lost.

A lock, which dies with the process that holds it, tells a folder in use from one left behind.
"""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

YOUNG_SECONDS = 60.0  # a folder is made before it is locked


@contextmanager
def folder(home: Path, name: str) -> Iterator[Path]:
    """An empty folder under `home`, whose name begins with `name`. Raises OSError."""
    parent = home.absolute() / "scratch"
    parent.mkdir(parents=True, exist_ok=True)
    sweep(parent)
    made = tempfile.TemporaryDirectory(prefix=name, dir=parent, ignore_cleanup_errors=True)
    with made as path, _opened(Path(path)) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield Path(path)


def sweep(parent: Path, *, young_seconds: float = YOUNG_SECONDS) -> None:
    """Remove the folders in `parent` whose worker is gone; several may do so at once."""
    for path in parent.iterdir():
        # Somebody else may have taken it away meanwhile, or it belongs to another user.
        with suppress(OSError), _opened(path) as descriptor:
            if time.time() - os.fstat(descriptor).st_mtime < young_seconds:
                continue
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # in use: BlockingIOError
            shutil.rmtree(path)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
