"""Read mutated archives, one after another, in a process confined as the service's child is.

One JSON request on stdin, a JSON line for each archive on stdout: its code, the CPU that it took,
and the most memory that the process had meanwhile (the kernel's mark, taken back before each).
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from core.config import UploadLimits
from core.data.confinement import confine
from core.domain.datasets import IntakeOptions
from core.errors import AppError

ALLOWED = {"out", "thumbnails.bin", "packed.safetensors", "originals.parquet"}


def main() -> None:
    """All of the request's."""
    request = json.loads(sys.stdin.readline())
    limits = UploadLimits.model_validate(request["limits"])
    confine(limits, parent=os.getppid())
    for path in request["archives"]:
        told = read(Path(request["folder"]), Path(path), limits)
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


def read(folder: Path, upload: Path, limits: UploadLimits) -> dict[str, Any]:
    """What became of one archive."""
    from core.data import preparation

    out = folder / "out"
    out.mkdir(exist_ok=True)
    _forget_peak()
    began, wrong = time.process_time(), []
    try:
        preparation.prepare(
            [upload],
            out,
            limits,
            IntakeOptions(unreadable_share=0.5),
            resolution=32,
            report=lambda _: None,
        )
        code = "accepted"
    except AppError as error:
        code = error.stable_code
    except Exception as error:  # noqa: BLE001 - the service would know nothing but that it failed
        code = ""
        wrong.append(f"raised {error!r}"[:200])
    cpu, mib = time.process_time() - began, _peak()
    found = {path.name for path in folder.rglob("*")}
    if not found <= ALLOWED:
        wrong.append(f"left {sorted(found - ALLOWED)[:3]}")
    for path in out.iterdir():
        path.unlink()
    return {"code": code, "cpu": cpu, "mib": mib, "wrong": wrong}


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _peak() -> float:
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
