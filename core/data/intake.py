"""The front of intake: hand an uploaded archive to a confined child and believe only its answer.

The upload is never parsed in this process: a decoder's bug or an endless loop costs one child.
"""

import hashlib
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from pydantic import TypeAdapter, ValidationError

from core.config import UploadLimits
from core.data.confinement import told_by
from core.data.prepared import (
    DEFAULT_RESOLUTION,
    ORIGINALS_NAME,
    PACKED_NAME,
    Contents,
    Prepared,
)
from core.domain.datasets import AS_USUAL, IntakeOptions
from core.domain.jobs import Progress
from core.errors import AppError, BadArchive, Detail, InvalidInput, TooLarge, Unavailable

OnProgress = Callable[[Progress], None]

_log = logging.getLogger(__name__)
_KINDS: dict[str, type[AppError]] = {
    kind.__name__: kind for kind in (BadArchive, InvalidInput, TooLarge, Unavailable)
}
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LINE_BYTES = 64 * 1024**2
_KEPT_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "TMPDIR", "SYSTEMROOT")
# CPU time is limited inside the child; this is for one that waits and never ends.
_PATIENCE = 2.0


@dataclass(frozen=True, slots=True)
class _Refusal:
    """An error as the child tells it."""

    kind: str
    code: str
    message: str
    details: tuple[Detail, ...]


_CONTENTS = TypeAdapter(Contents)
_PROGRESS = TypeAdapter(tuple[str, float])
_REFUSAL = TypeAdapter(_Refusal)


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
    request = {
        "archives": [str(path.absolute()) for path in paths],
        "folder": str(folder.absolute()),
        "limits": limits.model_dump(),
        "options": asdict(options),
        "resolution": resolution,
        "parent": os.getpid(),
    }
    try:
        contents = _run(request, limits, on_progress)
        return _with_files(contents, folder)
    except BaseException:
        _empty(folder)
        raise


def _run(
    request: dict[str, Any], limits: UploadLimits, on_progress: OnProgress | None
) -> Contents:
    with tempfile.TemporaryFile() as log, _child(request["folder"], log) as process:
        watchdog = threading.Timer(limits.cpu_seconds * _PATIENCE, process.kill)
        watchdog.daemon = True
        watchdog.start()
        try:
            answer = _converse(process, request, on_progress)
            process.wait()
        finally:
            watchdog.cancel()
        if answer is None:
            raise _died(process.returncode, log)
        return answer


@contextmanager
def _child(folder: str, log: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "core.data.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        cwd=folder,
        env=_environment(),
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def _environment() -> dict[str, str]:
    """No credentials; one thread; an allocator that fits a limited address space."""
    kept = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    coverage = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    return {
        **kept,
        **coverage,
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "PYTHONUTF8": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "ARROW_DEFAULT_MEMORY_POOL": "system",
    }


def _converse(
    process: subprocess.Popen[bytes], request: dict[str, Any], on_progress: OnProgress | None
) -> Contents | None:
    """Send the request, pass progress on; None when the child ended without an answer."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.close()
    except BrokenPipeError:
        return None
    while line := process.stdout.readline(_LINE_BYTES):
        message = _parsed(line)
        if "error" in message:
            raise _error(message["error"])
        if "contents" in message:
            return _believed(message["contents"], request["resolution"])
        if "progress" in message and on_progress is not None:
            on_progress(_progress(message["progress"]))
    return None


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


def _believed(told: object, resolution: int) -> Contents:
    """The contents, in the one form they may have: the hash becomes part of object keys."""
    try:
        contents = _CONTENTS.validate_python(told)
    except ValidationError:
        raise _unreadable() from None
    if not _SHA256.fullmatch(contents.sha256) or contents.resolution != resolution:
        raise _unreadable()
    return contents


def _progress(told: object) -> Progress:
    try:
        stage, fraction = _PROGRESS.validate_python(told)
    except ValidationError:
        raise _unreadable() from None
    return Progress(stage, fraction)


def _error(told: object) -> AppError:
    try:
        refusal = _REFUSAL.validate_python(told)
    except ValidationError:
        return _unreadable()
    kind = _KINDS.get(refusal.kind, InvalidInput)
    return kind(refusal.message, code=refusal.code, details=refusal.details)


def _died(status: int, log: IO[bytes]) -> AppError:
    """What to tell the user about a child that ended without an answer."""
    log.seek(0, os.SEEK_END)
    log.seek(max(0, log.tell() - 4000))
    _log.error(
        "intake child died",
        extra={"status": status, "stderr": log.read().decode("utf-8", "replace")},
    )
    return told_by(status)


def _unreadable() -> AppError:
    return told_by(0)


def _with_files(contents: Contents, folder: Path) -> Prepared:
    originals, packed = folder / ORIGINALS_NAME, folder / PACKED_NAME
    if not all(path.is_file() and not path.is_symlink() for path in (originals, packed)):
        raise _unreadable()
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
