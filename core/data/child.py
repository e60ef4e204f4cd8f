"""The confined process that reads what strangers sent: `python -m core.data.child`.

One JSON request on stdin; JSON lines on stdout: any number of `progress`, then one `answer` or
one `error`. Whatever else it may do or become, the parent only ever believes those lines.
"""

import base64
import errno
import gc
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from core.config import UploadLimits
from core.data.confinement import confine
from core.domain.datasets import IntakeOptions
from core.domain.jobs import Progress
from core.errors import AppError, TooLarge, Unavailable

NICENESS = 10  # who waits for an answer of the service comes first
# Names and entries by the ten thousand are held for good: to look for cycles among them every 700
# objects costs a twelfth of the time of a large upload.
_COLLECTED = 50_000
_ACCEPTED = 2**62  # pixels: intake has judged the size of every original
_TOO_BIG, _NO_SPACE = {errno.EFBIG}, {errno.ENOSPC, errno.EDQUOT}


def main() -> int:
    """Serve one request; 0 also when the answer is a refusal."""
    request = json.loads(sys.stdin.readline())
    limits = UploadLimits.model_validate(request["limits"])
    confine(limits, parent=request["parent"])
    os.nice(NICENESS)
    gc.set_threshold(_COLLECTED)
    try:
        answer: dict[str, Any] = {"answer": TASKS[request["task"]](request, limits)}
    except AppError as error:
        answer = {"error": _described(error)}
    except MemoryError:
        answer = {"error": _described(_too_heavy("memory"))}
    except OSError as error:
        if error.errno in _TOO_BIG:
            answer = {"error": _described(_too_heavy("disk space"))}
        elif error.errno in _NO_SPACE:
            answer = {"error": _described(Unavailable("There is no space to unpack uploads."))}
        else:
            raise
    _say(answer)
    return 0


def _prepare(request: dict[str, Any], limits: UploadLimits) -> dict[str, Any]:
    # Imported here: decoders and their threads must not start before the process is confined.
    from core.data import preparation

    contents = preparation.prepare(
        [Path(path) for path in request["archives"]],
        Path(request["folder"]),
        limits,
        IntakeOptions(**request["options"]),
        resolution=request["resolution"],
        report=_report,
    )
    return asdict(contents)


def _repack(request: dict[str, Any], limits: UploadLimits) -> None:
    from core.data import forked, packing

    packing.repack(
        Path(request["originals"]),
        Path(request["target"]),
        resolution=request["resolution"],
        channels=request["channels"],
        max_pixels=_ACCEPTED,
        workers=forked.available(limits),
        done=lambda share: _report(Progress("repack", share)),
    )


def _picture(request: dict[str, Any], limits: UploadLimits) -> str:
    from core.data import picture

    row = picture.decoded(
        Path(request["image"]).read_bytes(),
        resolution=request["resolution"],
        channels=request["channels"],
        limits=limits,
    )
    return base64.b64encode(row.tobytes()).decode()


TASKS: Mapping[str, Callable[[dict[str, Any], UploadLimits], Any]] = {
    "prepare": _prepare,
    "repack": _repack,
    "picture": _picture,
}


def _report(progress: Progress) -> None:
    _say({"progress": [progress.stage, progress.fraction]})


def _too_heavy(what: str) -> TooLarge:
    return TooLarge(
        f"Reading this archive needs more {what} than one upload may use; upload fewer or "
        "smaller images.",
        code="archive_too_large",
    )


def _described(error: AppError) -> dict[str, Any]:
    return {
        "kind": type(error).__name__,
        "code": error.stable_code,
        "message": error.message,
        "details": [asdict(detail) for detail in error.details],
    }


def _say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
