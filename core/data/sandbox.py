"""Work on what strangers sent, in a confined child of which only the answer is believed.

Nothing of theirs is parsed in this process: a decoder's bug or an endless loop costs one child.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import structlog
from pydantic import TypeAdapter, ValidationError

from core.config import UploadLimits
from core.data.confinement import told_by
from core.domain.jobs import Progress
from core.errors import AppError, BadArchive, Detail, InvalidInput, TooLarge, Unavailable

OnProgress = Callable[[Progress], None]

log = structlog.stdlib.get_logger(__name__)
_KINDS: dict[str, type[AppError]] = {
    kind.__name__: kind for kind in (BadArchive, InvalidInput, TooLarge, Unavailable)
}
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


_PROGRESS = TypeAdapter(tuple[str, float])
_REFUSAL = TypeAdapter(_Refusal)


def run(
    task: str,
    terms: Mapping[str, Any],
    limits: UploadLimits,
    *,
    folder: Path,
    on_progress: OnProgress | None = None,
) -> Any:
    """What a confined child answers to a task (`core.data.child.TASKS`) that it does in `folder`.

    Raises InvalidInput (mostly BadArchive), TooLarge or Unavailable, as the child says or as its
    end shows. The answer is only known to be JSON.
    """
    given = {"limits": limits.model_dump(), "folder": str(folder.absolute()), **terms}
    request = {"task": task, "parent": os.getpid(), **given}
    with tempfile.TemporaryFile() as said, _child(folder, said) as process:
        watchdog = threading.Timer(limits.cpu_seconds * _PATIENCE, process.kill)
        watchdog.daemon = True
        watchdog.start()
        try:
            answered, answer = _converse(process, request, on_progress)
            process.wait()
        finally:
            watchdog.cancel()
        if not answered:
            raise _died(process.returncode, said)
        return answer


def unreadable() -> AppError:
    """The refusal of an answer that cannot be believed."""
    return told_by(0)


def environment() -> dict[str, str]:
    """No credentials; one thread; an allocator that fits a limited address space."""
    kept = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    return {
        **kept,
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "PYTHONUTF8": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "ARROW_DEFAULT_MEMORY_POOL": "system",
    }


@contextmanager
def _child(folder: Path, said: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "core.data.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=said,
        cwd=folder,
        env=environment(),
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def _converse(
    process: subprocess.Popen[bytes], request: dict[str, Any], on_progress: OnProgress | None
) -> tuple[bool, Any]:
    """Send the request, pass progress on; whether the child answered before its end, and what."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.close()
    except BrokenPipeError:
        return False, None
    while line := process.stdout.readline(_LINE_BYTES):
        message = _parsed(line)
        if "error" in message:
            raise _error(message["error"])
        if "answer" in message:
            return True, message["answer"]
        if "progress" in message and on_progress is not None:
            on_progress(_progress(message["progress"]))
    return False, None


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


def _progress(told: object) -> Progress:
    try:
        stage, fraction = _PROGRESS.validate_python(told)
    except ValidationError:
        raise unreadable() from None
    return Progress(stage, fraction)


def _error(told: object) -> AppError:
    try:
        refusal = _REFUSAL.validate_python(told)
    except ValidationError:
        return unreadable()
    kind = _KINDS.get(refusal.kind, InvalidInput)
    return kind(refusal.message, code=refusal.code, details=refusal.details)


def _died(status: int, said: IO[bytes]) -> AppError:
    """What to tell the user about a child that ended without an answer."""
    said.seek(0, os.SEEK_END)
    said.seek(max(0, said.tell() - 4000))
    last = said.read().decode("utf-8", "replace")
    log.error("confined_child_died", status=status, stderr=last)
    return told_by(status)
