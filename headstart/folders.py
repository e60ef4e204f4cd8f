"""A folder of images as the archive that intake reads."""

import re
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def as_archive(images: Path) -> Iterator[Path]:
    """The archive itself, or a folder packed for as long as the block runs."""
    if not images.is_dir():
        yield images
        return
    with tempfile.TemporaryDirectory(prefix="headstart-") as folder:
        # Of several archives the names may say the splits.
        yield packed(images, Path(folder) / f"{images.resolve().name}.zip")


def title(images: Path) -> str:
    """What a dataset made of this folder or archive may be called."""
    whole = images.resolve().name
    return whole if images.is_dir() else re.sub(r"(\.tar)?\.[^.]+$", "", whole)


def packed(folder: Path, archive: Path) -> Path:
    """The folder in a zip, nothing compressed once more; links are not followed."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                file.write(path, path.relative_to(folder).as_posix())
    return archive
