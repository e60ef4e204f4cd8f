"""The front of intake: a confined child reads what was uploaded, and its answer is judged."""

import hashlib
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from core.config import UploadLimits
from core.data import sandbox
from core.data.prepared import (
    DEFAULT_RESOLUTION,
    ORIGINALS_NAME,
    PACKED_NAME,
    Contents,
    Prepared,
)
from core.data.sandbox import OnProgress
from core.domain.datasets import AS_USUAL, IntakeOptions

_SHA256 = re.compile(r"[0-9a-f]{64}")
_CONTENTS = TypeAdapter(Contents)


def prepare(
    archives: Path | Sequence[Path],
    folder: Path,
    limits: UploadLimits,
    options: IntakeOptions = AS_USUAL,
    *,
    resolution: int = DEFAULT_RESOLUTION,
    on_progress: OnProgress | None = None,
) -> Prepared:
    """Turn what was uploaded into a dataset's files, in `folder` (empty, or not yet there).

    Several archives are one dataset; their file names are shown, and may say the splits.
    Raises InvalidInput (mostly BadArchive) or TooLarge with a stable code and everything found
    wrong, Unavailable when this machine has no space. On any error the folder is left empty.
    """
    paths = [archives] if isinstance(archives, Path) else archives
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise ValueError("the folder for a prepared dataset must be empty")
    terms = {
        "archives": [str(path.absolute()) for path in paths],
        "options": asdict(options),
        "resolution": resolution,
    }
    try:
        told = sandbox.run("prepare", terms, limits, folder=folder, on_progress=on_progress)
        return _with_files(_believed(told, resolution), folder)
    except BaseException:
        _empty(folder)
        raise


def _believed(told: object, resolution: int) -> Contents:
    """The contents, in the one form they may have: the hash becomes part of object keys."""
    try:
        contents = _CONTENTS.validate_python(told)
    except ValidationError:
        raise sandbox.unreadable() from None
    if not _SHA256.fullmatch(contents.sha256) or contents.resolution != resolution:
        raise sandbox.unreadable()
    return contents


def _with_files(contents: Contents, folder: Path) -> Prepared:
    originals, packed = folder / ORIGINALS_NAME, folder / PACKED_NAME
    if not all(path.is_file() and not path.is_symlink() for path in (originals, packed)):
        raise sandbox.unreadable()
    return Prepared(
        sha256=contents.sha256,
        classes=contents.classes,
        train_counts=contents.train_counts,
        test_counts=contents.test_counts,
        channels=contents.channels,
        report=contents.report,
        originals=originals,
        packed=packed,
        resolution=contents.resolution,
        originals_sha256=_checksum(originals),
        size_bytes=sum(path.stat().st_size for path in (originals, packed)),
    )


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
